//! The images of one session decide together what one of them alone leaves open.

use brainmvp_volume::{Modality, Role};

use super::decision::{Doubt, Finding, Verdict};
use super::evidence::{Evidence, Open, Says, Source};

/// Settles what the other images of a session can settle: a T1 of which only the contrast agent is open is the one with
/// it beside a T1 without, and the one without it beside a T1 with. More than one open image stay open.
///
/// Where T1 and T2 are time points, all images that are named by them are refused.
///
/// The other way round, a T1 whose name says nothing of the agent may be the one with it, if another is stated to be
/// without and none with. Then it is refused.
pub fn settle(findings: &mut [&mut Finding]) {
    doubt_time_points(findings);
    settle_stated_agents(findings);
    let is = |finding: &Finding, modality| finding.modality() == Some(modality);
    let t1 = findings.iter().any(|finding| is(finding, Modality::T1));
    let t1c = findings.iter().any(|finding| is(finding, Modality::T1c));
    match (t1, t1c) {
        (true, false) if !decide(findings, true) => doubt(findings),
        (false, true) => drop(decide(findings, false)),
        _ => {}
    }
}

/// Some scanners state the agent for all series of an examination. A T1 that only this makes one with the agent, beside
/// one that is named for it, is without if images of other weightings have the agent too, and else refused.
fn settle_stated_agents(findings: &mut [&mut Finding]) {
    let stated = |finding: &Finding, by_words: bool| {
        finding
            .evidence
            .iter()
            .any(|e| e.says == Says::Agent(true) && matches!(e.source, Source::Attribute(_)) != by_words)
    };
    let t1c = |finding: &Finding| finding.modality() == Some(Modality::T1c) && !finding.is_decided();
    if !findings.iter().any(|finding| t1c(finding) && stated(finding, true)) {
        return;
    }
    let others = || {
        findings.iter().filter(|finding| {
            matches!(finding.modality(), Some(Modality::T2 | Modality::Flair | Modality::Pd))
        })
    };
    let everywhere = others().count() > 0 && others().all(|finding| stated(finding, false));
    for finding in findings.iter_mut().filter(|finding| t1c(finding) && !stated(finding, true)) {
        let (says, choices) = if everywhere {
            (Says::Agent(false), Vec::new())
        } else {
            (Says::Open(Open::Everywhere), vec![Modality::T1, Modality::T1c])
        };
        let text = if everywhere {
            "all images have the agent, and another one is named for it"
        } else {
            "another one is named for it"
        };
        let evidence = Evidence::new(Source::Session, text, says, 4);
        let reason = evidence.to_string();
        finding.evidence.push(evidence);
        finding.agent = None;
        finding.verdict = if everywhere {
            Verdict::Is(Role::Image(Modality::T1))
        } else {
            Verdict::Open(Doubt { choices, reason })
        };
    }
}

/// `P01_T1_FLAIR` beside `P01_T2_FLAIR` and `P01_T2_T1`: T1 and T2 are the time points, and which image is of which
/// examination these names do not say to a reader of one session. All such images are refused.
fn doubt_time_points(findings: &mut [&mut Finding]) {
    const POINTS: [&str; 2] = ["t1", "t2"];
    let words = |finding: &Finding| -> Vec<(String, Modality)> {
        let named = finding.evidence.iter().filter(|e| e.source == Source::Name);
        named
            .filter_map(|e| match e.says {
                Says::Weighting(modality) if e.weight >= 4 => Some((e.text.to_lowercase(), modality)),
                _ => None,
            })
            .collect()
    };
    let pointed = |finding: &Finding| {
        let words = words(finding);
        let point = words.first().and_then(|(first, _)| POINTS.iter().find(|point| *point == first));
        point.filter(|_| words.len() > 1).map(|point| (*point, words[1].1))
    };
    let found: Vec<_> = findings.iter().map(|finding| pointed(finding)).collect();
    let both = POINTS.iter().all(|point| found.iter().flatten().any(|(first, _)| first == point));
    // `T2_T1`: in `T1_T1_MPRAGE` beside `T2_T2_TSE`, the first word repeats the weighting.
    let sure = found.iter().flatten().any(|(first, modality)| match modality {
        Modality::T1 => *first == "t2",
        Modality::T2 => *first == "t1",
        _ => false,
    });
    if !both || !sure {
        return;
    }
    for (finding, point) in findings.iter_mut().zip(found) {
        let Some((point, _)) = point.filter(|_| !finding.is_decided()) else { continue };
        let told = finding.evidence.iter().any(|e| e.says == Says::Open(Open::TimePoint));
        if !told {
            finding.evidence.push(Evidence::new(Source::Session, point, Says::Open(Open::TimePoint), 3));
        }
        let reason = finding.evidence.last().map_or(String::new(), ToString::to_string);
        finding.verdict = Verdict::Open(Doubt { choices: Vec::new(), reason });
    }
}

/// Decides about the one image of which only the agent is open, if there is one.
fn decide(findings: &mut [&mut Finding], given: bool) -> bool {
    let mut open = findings.iter_mut().filter(|finding| only_agent_is_open(finding));
    let (Some(finding), None) = (open.next(), open.next()) else { return false };
    let (answer, other) = if given { (Modality::T1c, Modality::T1) } else { (Modality::T1, Modality::T1c) };
    let text = format!("the other one is {other}");
    finding.evidence.push(Evidence::new(Source::Session, text, Says::Agent(given), 4));
    finding.agent = Some(given);
    finding.verdict = Verdict::Is(Role::Image(answer));
    true
}

/// Refuses images that are T1 only because nothing says that an agent was given, beside one that is stated to be without.
fn doubt(findings: &mut [&mut Finding]) {
    let without =
        |finding: &Finding| finding.modality() == Some(Modality::T1) && finding.agent == Some(false);
    if !findings.iter().any(|finding| without(finding)) {
        return;
    }
    for finding in findings.iter_mut() {
        if finding.modality() == Some(Modality::T1) && finding.agent.is_none() && !finding.is_decided() {
            let says = Says::Open(Open::Beside);
            let evidence = Evidence::new(Source::Session, "a T1 without contrast agent", says, 3);
            let reason = evidence.to_string();
            finding.evidence.push(evidence);
            finding.verdict = Verdict::Open(Doubt { choices: vec![Modality::T1, Modality::T1c], reason });
        }
    }
}

fn only_agent_is_open(finding: &Finding) -> bool {
    let Verdict::Open(doubt) = &finding.verdict else { return false };
    let one_word = |evidence: &Evidence| {
        matches!(evidence.says, Says::Open(Open::AfterWhat | Open::Hyphen | Open::Weighted))
    };
    doubt.choices == [Modality::T1, Modality::T1c] && finding.evidence.iter().any(one_word)
}

#[cfg(test)]
mod tests {
    use super::super::{Aliases, of_file};
    use super::*;

    fn together(names: &[&str]) -> Vec<String> {
        let mut found: Vec<Finding> =
            names.iter().map(|name| of_file(name, None, None, &Aliases::default()).finding).collect();
        settle(&mut found.iter_mut().collect::<Vec<_>>());
        found.iter().map(|finding| finding.modality().map_or("-", Modality::name).to_owned()).collect()
    }

    #[test]
    fn one_image_decides_about_another() {
        assert_eq!(together(&["T1", "T1-C"]), ["t1", "t1c"]);
        assert_eq!(together(&["T1+C", "T1-C"]), ["t1c", "t1"]);
        assert_eq!(together(&["T1-C", "T1_2019-post"]), ["-", "-"], "two are open");
        assert_eq!(together(&["T1", "T1_W"]), ["t1", "t1c"]);
        assert_eq!(together(&["T1", "T1_with_and_without_contrast"]), ["t1", "-"]);
        assert_eq!(together(&["FLAIR", "T1-C"]), ["flair", "-"]);
    }

    #[test]
    fn time_points_are_not_weightings() {
        assert_eq!(together(&["P1_T1_FLAIR", "P1_T2_FLAIR", "P1_T1_T1", "P1_T2_T1"]), ["-", "-", "-", "-"]);
        assert_eq!(together(&["P1_T1_FLAIR", "P1_T2_FLAIR", "P1_T2_T1", "P1_PD"]), ["-", "-", "-", "pd"]);
        assert_eq!(together(&["P1_T1_FLAIR", "P1_T2_FLAIR"]), ["t1", "flair"]);
        assert_eq!(together(&["T1", "T2", "T1_T2"]), ["t1", "t2", "-"]);
        assert_eq!(together(&["T1_T1_MPRAGE", "T2_T2_TSE"]), ["t1", "t2"]);
    }

    #[test]
    fn beside_a_native_image_another_may_be_with_contrast() {
        assert_eq!(together(&["T1_pre", "T1"]), ["t1", "-"]);
        assert_eq!(together(&["T1_pre", "T1", "T1_post"]), ["t1", "t1", "t1c"]);
        assert_eq!(together(&["T1_pre_op", "T1"]), ["t1", "t1"]);
    }
}
