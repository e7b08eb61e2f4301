//! The images of one session decide together what one of them alone leaves open.

use brainmvp_volume::{Modality, Role};

use super::decision::{Finding, Verdict};
use super::evidence::{Evidence, Open, Says, Source};

/// Settles what the other images of a session can settle: a T1 of which only the contrast agent is open is the one with
/// it beside a T1 without, and the one without it beside a T1 with. More than one open image stay open.
pub fn settle(findings: &mut [&mut Finding]) {
    let is = |finding: &Finding, modality| finding.modality() == Some(modality);
    let t1 = findings.iter().any(|finding| is(finding, Modality::T1));
    let t1c = findings.iter().any(|finding| is(finding, Modality::T1c));
    let answer = match (t1, t1c) {
        (true, false) => Modality::T1c,
        (false, true) => Modality::T1,
        _ => return,
    };
    let mut open = findings.iter_mut().filter(|finding| only_agent_is_open(finding));
    let (Some(finding), None) = (open.next(), open.next()) else { return };
    let other = if answer == Modality::T1c { Modality::T1 } else { Modality::T1c };
    let says = Says::Agent(answer == Modality::T1c);
    finding.evidence.push(Evidence::new(Source::Session, format!("the other one is {other}"), says, 4));
    finding.agent = Some(answer == Modality::T1c);
    finding.verdict = Verdict::Is(Role::Image(answer));
}

fn only_agent_is_open(finding: &Finding) -> bool {
    let Verdict::Open(doubt) = &finding.verdict else { return false };
    let one_word = |evidence: &Evidence| {
        matches!(evidence.says, Says::Open(Open::AfterWhat | Open::Hyphen | Open::Weighted))
    };
    doubt.choices == [Modality::T1, Modality::T1c] && finding.evidence.iter().any(one_word)
}
