//! One case of a data list.
//!
//! - `image`: a path, an array of paths (one per modality), or an object of modalities with their paths;
//! - instead, or besides, a key for each modality (`t1`, `flair`, `image_t1`...) with its path;
//! - `label`: a path, an array of one, or a number (a class); keys such as `seg` and `brain_mask` have paths;
//! - `id`, `subject`, `site`, `class`, `split`: texts.
//!
//! A case may also be a bare path.

use std::path::Path;

use brainmvp_volume::{Modality, Role};
use serde_json::Value;

use super::super::{Candidate, Draft, file_name, listed};
use crate::identity::{self, Aliases, Source, Verdict};

/// What the value of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// Images whose modalities the channels, the names of the files, or keys within say.
    Images,
    /// One file.
    File(Role),
    Id,
    Subject,
    Site,
    Class,
    Split,
    Unused,
}

/// Names of files that say nothing of their case.
const GENERIC: [&str; 6] = ["image", "img", "volume", "vol", "scan", "data"];

impl Key {
    fn of(key: &str, aliases: &Aliases) -> Self {
        match key.to_ascii_lowercase().as_str() {
            "image" | "images" | "img" => Self::Images,
            "id" | "case" | "case_id" => Self::Id,
            "subject" | "subject_id" | "patient" | "patient_id" | "patientid" => Self::Subject,
            "site" => Self::Site,
            "class" => Self::Class,
            "split" => Self::Split,
            key => match identity::role_of_word(without_image(key), aliases) {
                None | Some(Role::Ignored) => Self::Unused,
                Some(role) => Self::File(role),
            },
        }
    }
}

/// `image_t1`, `t1_image` and the like without the word for an image.
fn without_image(key: &str) -> &str {
    let words = ["image_", "image-", "img_", "img-"];
    let ends = ["_image", "-image", "_img", "-img", "_path", "_file"];
    let rest = words.iter().find_map(|word| key.strip_prefix(word)).unwrap_or(key);
    ends.iter().find_map(|word| rest.strip_suffix(word)).unwrap_or(rest)
}

/// Whether a value of a list is a case.
pub(super) fn is_case(item: &Value, aliases: &Aliases) -> bool {
    let is_image = |(key, value): (&String, &Value)| match Key::of(key, aliases) {
        Key::Images => true,
        Key::File(Role::Image(_)) => {
            value.as_str().is_some_and(|path| file_name::stem(Path::new(&listed::slashed(path))).is_some())
        }
        _ => false,
    };
    item.as_object().is_some_and(|object| object.iter().any(is_image))
}

/// Reads the cases of one list.
pub(super) struct Reader<'a> {
    pub(super) base: &'a Path,
    pub(super) channels: &'a [Modality],
    pub(super) data_set: &'a str,
    pub(super) aliases: &'a Aliases,
}

impl Reader<'_> {
    /// The keys of a case that are not read.
    pub(super) fn unused_keys(&self, item: &Value) -> Vec<String> {
        let keys = item.as_object().into_iter().flatten().map(|(key, _)| key);
        keys.filter(|key| Key::of(key, self.aliases) == Key::Unused).cloned().collect()
    }

    /// A case.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn draft(&self, item: &Value) -> Result<Draft, String> {
        let mut draft = Draft::new("", self.data_set);
        let mut identifiers = Vec::new();
        let Some(object) = item.as_object() else {
            self.images(item, &mut draft, &mut identifiers)?;
            draft.id = Self::id(&identifiers);
            draft.subject.clone_from(&draft.id);
            return Ok(draft);
        };
        let (mut id, mut subject) = (None, None);
        for (key, value) in object {
            match Key::of(key, self.aliases) {
                Key::Images => self.images(value, &mut draft, &mut identifiers)?,
                Key::File(_) if value.is_null() => {}
                Key::File(Role::Label) if value.is_number() => draft.class = text(value),
                Key::File(role) => {
                    let path = one_path(value).ok_or_else(|| {
                        let or = if role == Role::Label {
                            ", an array of one, nor a number"
                        } else {
                            " nor an array of one"
                        };
                        format!("\"{key}\" is neither a path{or}")
                    })?;
                    if let Role::Image(modality) = role {
                        identifiers.push(self.image(path, Some(modality), &mut draft)?);
                    } else {
                        draft.files.push(self.candidate(path, role, &key.to_ascii_lowercase()));
                    }
                }
                Key::Id => id = text(value),
                Key::Subject => subject = text(value),
                Key::Site => draft.site = text(value),
                Key::Class => draft.class = text(value),
                Key::Split => draft.split = value.as_str().and_then(|word| word.parse().ok()),
                Key::Unused => {}
            }
        }
        draft.id = id.unwrap_or_else(|| Self::id(&identifiers));
        draft.subject = subject.unwrap_or_else(|| draft.id.clone());
        Ok(draft)
    }

    /// Adds the images of a value, and what their names say of the case.
    fn images(&self, value: &Value, draft: &mut Draft, found: &mut Vec<Identifier>) -> Result<(), String> {
        if let Some(by_modality) = value.as_object() {
            for (key, value) in by_modality {
                let Key::File(Role::Image(modality)) = Key::of(key, self.aliases) else {
                    return Err(format!("\"image\" has the key '{key}', not a known modality; see --alias"));
                };
                let path = one_path(value).ok_or_else(|| format!("\"{key}\" of \"image\" is not a path"))?;
                found.push(self.image(path, Some(modality), draft)?);
            }
            return Ok(());
        }
        let images = paths(value).ok_or("\"image\" is neither a path nor an array of paths")?;
        if images.is_empty() {
            return Err("\"image\" is empty".to_owned());
        }
        if !self.channels.is_empty() && self.channels.len() != images.len() {
            let (images, channels) = (images.len(), self.channels.len());
            return Err(format!(
                "{images} image files for {channels} channels; a 4-D file must be split first"
            ));
        }
        for (i, path) in images.into_iter().enumerate() {
            found.push(self.image(path, self.channels.get(i).copied(), draft)?);
        }
        Ok(())
    }

    /// Adds an image, whose modality may already be known.
    fn image(&self, listed: &str, known: Option<Modality>, draft: &mut Draft) -> Result<Identifier, String> {
        let text = listed::slashed(listed);
        let path = Path::new(&text);
        let stem = file_name::stem(path)
            .ok_or_else(|| format!("{listed}: not a volume (.nii .nii.gz .hdr .mgz .nrrd)"))?;
        let folder = path.parent().map_or_else(String::new, last_name);
        let resolved = listed::resolve(self.base, listed);
        let named = file_name::parse(&resolved, &folder, self.aliases);
        let (candidate, name) = match (known, named) {
            // The name may contain the modality given in the list, none, or another one.
            (Some(modality), named) => {
                let named = named.filter(|named| matches!(named.candidate.role, Role::Image(_)));
                let candidate = self.candidate(listed, Role::Image(modality), modality.name());
                (candidate, named.map_or(stem, |named| named.identifier))
            }
            // Two images of one modality are an error in a list; neither is chosen. What the name of one leaves open, the
            // other images of the case may settle.
            (None, Some(named))
                if matches!(named.candidate.role, Role::Image(_))
                    || matches!(named.candidate.finding.verdict, Verdict::Open(_)) =>
            {
                (Candidate { variant: Vec::new(), ..named.candidate }, named.identifier)
            }
            (None, _) => {
                let hint = file_name::hint(path).unwrap_or_else(|| "see --channels and --alias".to_owned());
                return Err(format!("{listed}: the name contains no known modality; {hint}"));
            }
        };
        let is_generic = GENERIC.iter().any(|generic| name.eq_ignore_ascii_case(generic));
        let name = if is_generic { String::new() } else { name.to_owned() };
        draft.files.push(candidate);
        Ok(Identifier { name, folder })
    }

    /// The id of a case, of what its images say: the text that their names share, else the folder of the first.
    fn id(identifiers: &[Identifier]) -> String {
        let Some(first) = identifiers.first() else { return String::new() };
        let shared = identifiers.iter().all(|identifier| identifier.name == first.name);
        if shared && !first.name.is_empty() { first.name.clone() } else { first.folder.clone() }
    }

    fn candidate(&self, path: &str, role: Role, word: &str) -> Candidate {
        Candidate::stated(listed::resolve(self.base, path), Source::List, word, role)
    }
}

/// What the path of an image says of its case.
struct Identifier {
    /// The part of the file's name before the modality.
    name: String,
    /// The name of its folder.
    folder: String,
}

/// A text or number.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// One path or an array of them.
fn paths(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => several.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// One path or an array of one.
fn one_path(value: &Value) -> Option<&str> {
    match paths(value)?.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

/// The last part of a path, without the ending of a volume.
fn last_name(path: &Path) -> String {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    file_name::stem(path).map_or(name, str::to_owned)
}
