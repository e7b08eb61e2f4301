//! Guesses the modality of a volume from how it was acquired; its name comes last.
//!
//! The rules are tried in order, and the first one that applies decides. The time limits are those of brain protocols
//! at 1.5 and 3 T: T1 by spin echo has TE up to 30 ms and TR up to 1200 ms; T2 has TE from 60 ms; FLAIR nulls fluid
//! with TI from 1500 ms; gradient echoes of a few ms, with or without inversion, are T1.

use brainmvp_volume::{Aliases, Modality, Role};

use crate::acquisition::Acquisition;
use crate::frame::{Component, Frame};

/// The probable modality of a volume, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    /// The modality; `None` for images that are not one of the eight, such as localizers, phase or perfusion images.
    pub modality: Option<Modality>,
    /// Why.
    pub reason: String,
}

/// An image with fewer slices is not a volume of a brain.
const FEWEST_SLICES: usize = 5;

/// From this b-value on an image is visibly diffusion-weighted.
const LEAST_B_VALUE: f64 = 500.0;

/// Words in `ImageType` for images that are not one of the modalities.
const OTHER_TYPES: [&str; 23] = [
    "LOCALIZER",
    "MPR",
    "PROJECTION IMAGE",
    "MIP",
    "MINIP",
    "SCREEN SAVE",
    "FA",
    "TENSOR",
    "EXP",
    "EADC",
    "COLFA",
    "PERFUSION",
    "CBF",
    "CBV",
    "MTT",
    "TTP",
    "RELCBF",
    "ASL",
    "SWI",
    "MNIP",
    "FMRI",
    "T2 STAR MAP",
    "QMAP",
];

/// Words in descriptions of images that are not one of the modalities.
const OTHER_NAMES: [&str; 17] = [
    "localizer",
    "scout",
    "survey",
    "swi",
    "swan",
    "perfusion",
    "pwi",
    "dsc",
    "dce",
    "asl",
    "bold",
    "fieldmap",
    "gre_field",
    "t2star",
    "t2*",
    "mip",
    "phoenixzipreport",
];

pub(crate) fn guess(acquisition: &Acquisition, frame: &Frame, slices: usize) -> Guess {
    let seen = Seen { acquisition, frame, slices, words: words_of(acquisition) };
    let rules = [
        Seen::no_brain_volume,
        Seen::diffusion,
        Seen::by_kind,
        Seen::by_stated_contrast,
        Seen::by_times,
        Seen::by_name,
    ];
    let found = rules.iter().find_map(|rule| rule(&seen));
    let (modality, reason) =
        found.unwrap_or((None, "neither its timing nor its description gives the modality".to_owned()));
    Guess { modality, reason }
}

/// The answer of a rule.
type Answer = Option<(Option<Modality>, String)>;

struct Seen<'a> {
    acquisition: &'a Acquisition,
    frame: &'a Frame,
    slices: usize,
    /// The descriptions, in lower case.
    words: Vec<String>,
}

impl Seen<'_> {
    fn typed(&self, words: &[&str]) -> Option<&str> {
        self.frame.image_type.iter().map(String::as_str).find(|word| words.contains(word))
    }

    fn named(&self, words: &[&str]) -> Option<&str> {
        self.words.iter().map(String::as_str).find(|word| words.contains(word))
    }

    /// Whether the manufacturer's name of the sequence contains one of these.
    fn sequence(&self, parts: &[&str]) -> bool {
        let name = self.acquisition.sequence_name.as_deref().unwrap_or_default().to_lowercase();
        parts.iter().any(|part| name.contains(part))
    }

    fn no_brain_volume(&self) -> Answer {
        let device = self.acquisition.device.as_str();
        let reason = if device != "MR" {
            format!("Modality is {device}, not MR")
        } else if let Some(word) = self.typed(&OTHER_TYPES) {
            format!("ImageType has {word}")
        } else if self.frame.component != Component::Magnitude {
            format!("{:?} image, not magnitude", self.frame.component)
        } else if self.slices < FEWEST_SLICES {
            format!("{} slices", self.slices)
        } else if let Some(word) = self.named(&OTHER_NAMES) {
            format!("the description has '{word}'")
        } else {
            return None;
        };
        Some((None, reason))
    }

    fn diffusion(&self) -> Answer {
        let adc = self.typed(&["ADC"]).is_some() || self.named(&["adc"]).is_some() && self.is_derived();
        if adc {
            return Some((Some(Modality::Adc), "ImageType or description has ADC".to_owned()));
        }
        let traced = self.typed(&["TRACE", "TRACEW"]);
        let weighted = self.frame.b_value.filter(|b| *b > 0.0 || self.acquisition.scans(&["EP"]));
        let Some(b) = weighted else {
            return traced.map(|word| (Some(Modality::Dwi), format!("ImageType has {word}")));
        };
        Some(match (self.frame.direction, b) {
            (_, b) if b < LEAST_B_VALUE => (None, format!("diffusion series, b = {b} is too low")),
            (Some(_), b) => (None, format!("one gradient direction at b = {b}; the trace image is wanted")),
            (None, b) => (Some(Modality::Dwi), format!("b = {b} over all directions")),
        })
    }

    fn is_derived(&self) -> bool {
        self.frame.image_type.first().is_some_and(|word| word == "DERIVED")
    }

    /// Time-of-flight angiography, susceptibility imaging and the like have no characteristic timing.
    fn by_kind(&self) -> Answer {
        let stated = self.acquisition.contrast.as_deref();
        if stated == Some("TIME_OF_FLIGHT")
            || self.sequence(&["tof"])
            || self.named(&["tof", "angio", "mra"]).is_some()
        {
            return Some((
                Some(Modality::Mra),
                "time-of-flight angiography by its sequence or description".to_owned(),
            ));
        }
        if self.sequence(&["swi", "epfid", "ep2d_perf", "pcasl", "pasl"]) || self.typed(&["ANGIO"]).is_some()
        {
            return Some((
                None,
                "susceptibility, perfusion or functional imaging by its sequence".to_owned(),
            ));
        }
        None
    }

    /// `AcquisitionContrast` of enhanced files.
    fn by_stated_contrast(&self) -> Answer {
        let contrast = self.acquisition.contrast.as_deref()?;
        let reason = format!("AcquisitionContrast is {contrast}");
        match contrast {
            "FLUID_ATTENUATED" => Some((Some(Modality::Flair), reason)),
            "T1" => Some(self.t1(reason)),
            "T2" => Some((Some(Modality::T2), reason)),
            "PROTON_DENSITY" => Some((Some(Modality::Pd), reason)),
            "T2_STAR" | "PERFUSION" | "SUSCEPTIBILITY" | "TAGGING" | "MAGNETIZATION_TRANSFER" => {
                Some((None, reason))
            }
            _ => None,
        }
    }

    fn by_times(&self) -> Answer {
        let te = self.frame.echo_time_ms.filter(|ms| *ms > 0.0)?;
        let tr = self.acquisition.repetition_time_ms.filter(|ms| *ms > 0.0)?;
        let ti = self.frame.inversion_time_ms.unwrap_or(0.0);
        let gradient = self.acquisition.scans(&["GR"]) && !self.acquisition.scans(&["SE"]);
        let times =
            if ti > 0.0 { format!("TE {te}, TR {tr}, TI {ti} ms") } else { format!("TE {te}, TR {tr} ms") };
        let balanced =
            gradient && self.acquisition.sequence_variant.iter().any(|word| word == "SS") && tr < 20.0;
        let answer = if self.acquisition.scans(&["EP"]) {
            return None;
        } else if ti >= 1500.0 && te >= 60.0 && !gradient {
            (Some(Modality::Flair), format!("{times}: fluid is nulled"))
        } else if balanced && self.named(&["ciss", "fiesta", "truefisp", "bffe", "drive"]).is_some() {
            (Some(Modality::T2), format!("{times}, balanced gradient echo by its description"))
        } else if gradient && te <= 8.0 && (ti > 0.0 || tr <= 40.0) {
            self.t1(format!("{times}, gradient echo"))
        } else if gradient && te > 8.0 {
            (None, format!("{times}, gradient echo: T2*"))
        } else if gradient {
            return None;
        } else if te <= 30.0 && tr <= 1200.0 || (300.0..1500.0).contains(&ti) && te <= 40.0 {
            self.t1(times)
        } else if te >= 60.0 && tr >= 1500.0 {
            (Some(Modality::T2), times)
        } else if te <= 40.0 && tr >= 1800.0 {
            (Some(Modality::Pd), times)
        } else {
            return None;
        };
        Some(answer)
    }

    /// T1, with or without contrast agent.
    fn t1(&self, reason: String) -> (Option<Modality>, String) {
        let after = if self.acquisition.agent {
            "a contrast agent was given"
        } else if self.role_by_name() == Some(Role::Image(Modality::T1c))
            || self.named(&CONTRAST_WORDS).is_some()
        {
            "contrast by its description"
        } else {
            return (Some(Modality::T1), reason);
        };
        (Some(Modality::T1c), format!("{reason}; {after}"))
    }

    fn by_name(&self) -> Answer {
        let Role::Image(modality) = self.role_by_name()? else { return None };
        let reason = "by its description alone".to_owned();
        Some(if modality == Modality::T1 { self.t1(reason) } else { (Some(modality), reason) })
    }

    /// The longest known phrase in the description; the first of several that are equally long.
    fn role_by_name(&self) -> Option<Role> {
        let aliases = Aliases::default();
        (1..=3).rev().find_map(|length| {
            let phrases = self.words.windows(length).map(|words| words.join("_"));
            phrases.filter_map(|phrase| aliases.role_of(&phrase)).find(|role| matches!(role, Role::Image(_)))
        })
    }
}

/// Words that mean that a contrast agent was given.
const CONTRAST_WORDS: [&str; 9] = ["gd", "gad", "post", "postcontrast", "contrast", "+c", "ce", "km", "c+"];

fn words_of(acquisition: &Acquisition) -> Vec<String> {
    // The description belongs to the series; the protocol may be shared by several.
    let text = acquisition.description.as_deref().or(acquisition.protocol.as_deref()).unwrap_or_default();
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '+' || c == '*'));
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split('\\').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    fn frame(image_type: &str, te: f64, ti: f64) -> Frame {
        Frame {
            plane: Err("none"),
            rescale: [1.0, 0.0],
            image_type: words(image_type),
            component: Component::Magnitude,
            echo_time_ms: Some(te),
            inversion_time_ms: (ti > 0.0).then_some(ti),
            flip_angle_degrees: None,
            b_value: None,
            direction: None,
            temporal_position: None,
            acquisition: None,
            trigger_time_ms: None,
            thickness_mm: None,
        }
    }

    fn acquisition(scanning: &str, tr: f64, description: &str) -> Acquisition {
        Acquisition {
            device: "MR".to_owned(),
            scanning_sequence: words(scanning),
            repetition_time_ms: Some(tr),
            description: (!description.is_empty()).then(|| description.to_owned()),
            ..Acquisition::default()
        }
    }

    #[test]
    fn protocols_of_brains() {
        /// Scanning sequence, TE, TR, TI, description, modality.
        type Row = (&'static str, f64, f64, f64, &'static str, Option<Modality>);
        use Modality::{Flair, Mra, Pd, T1, T1c, T2};
        let rows: [Row; 18] = [
            ("SE", 9.0, 550.0, 0.0, "AX 1", Some(T1)),
            ("SE", 9.0, 550.0, 0.0, "AX T1 POST", Some(T1c)),
            ("SE\\IR", 120.0, 9000.0, 2500.0, "", Some(Flair)),
            ("SE\\IR", 388.0, 5000.0, 1800.0, "t2_space_dark-fluid", Some(Flair)),
            ("SE\\IR", 20.0, 2200.0, 860.0, "t1 flair", Some(T1)),
            ("SE", 102.0, 4000.0, 0.0, "", Some(T2)),
            ("SE", 12.0, 3000.0, 0.0, "", Some(Pd)),
            ("GR\\IR", 2.98, 2300.0, 900.0, "mprage", Some(T1)),
            ("GR", 3.2, 8.2, 450.0, "FSPGR +C", Some(T1c)),
            ("GR", 3.4, 22.0, 0.0, "TOF_3D", Some(Mra)),
            ("GR", 20.0, 650.0, 0.0, "t2 hemo", None),
            ("EP", 30.0, 2000.0, 0.0, "ep2d bold moco", None),
            ("EP\\SE", 80.0, 4000.0, 0.0, "ax resting", None),
            ("GR", 2.5, 5.5, 0.0, "scout", None),
            ("RM", 45.0, 1500.0, 0.0, "Ax T2 FLAIR", Some(Flair)),
            ("RM", 45.0, 1500.0, 0.0, "t1gd tra", Some(T1c)),
            ("RM", 45.0, 1500.0, 0.0, "unknown", None),
            ("GR", 2.4, 5.2, 0.0, "ciss", Some(T1)),
        ];
        for (scanning, te, tr, ti, description, expected) in rows {
            let found =
                guess(&acquisition(scanning, tr, description), &frame("ORIGINAL\\PRIMARY\\M", te, ti), 30);
            assert_eq!(found.modality, expected, "{scanning} {te} {tr} {ti} {description}: {}", found.reason);
        }
    }

    #[test]
    fn diffusion_localizers_agents() {
        let plain = acquisition("EP\\SE", 5000.0, "");
        let diffusion = |b: f64, direction: Option<[f64; 3]>| Frame {
            b_value: Some(b),
            direction,
            ..frame("ORIGINAL\\PRIMARY\\DIFFUSION", 80.0, 0.0)
        };
        let of = |frame: &Frame| guess(&plain, frame, 30).modality;
        assert_eq!(of(&diffusion(1000.0, None)), Some(Modality::Dwi));
        assert_eq!(of(&diffusion(1000.0, Some([1.0, 0.0, 0.0]))), None);
        assert_eq!(of(&diffusion(0.0, None)), None);
        assert_eq!(of(&frame("DERIVED\\PRIMARY\\DIFFUSION\\ADC", 80.0, 0.0)), Some(Modality::Adc));
        assert_eq!(of(&frame("DERIVED\\PRIMARY\\DIFFUSION\\TRACEW", 80.0, 0.0)), Some(Modality::Dwi));
        assert_eq!(of(&frame("DERIVED\\PRIMARY\\DIFFUSION\\FA", 80.0, 0.0)), None);
        let given = Acquisition { agent: true, ..acquisition("SE", 500.0, "") };
        let spin_echo = frame("ORIGINAL\\PRIMARY\\M", 10.0, 0.0);
        assert_eq!(guess(&given, &spin_echo, 30).modality, Some(Modality::T1c));
        assert_eq!(guess(&given, &spin_echo, 3).modality, None);
        assert_eq!(guess(&Acquisition { device: "CT".to_owned(), ..given }, &spin_echo, 30).modality, None);
    }
}
