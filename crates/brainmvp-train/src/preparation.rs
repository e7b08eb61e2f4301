//! Whether cases were prepared in the same way as those that a network was trained on.

use brainmvp_prep::{Aspect, Difference, PrepConfig};

use crate::placement::TemplateFrame;
use crate::{Error, Result};

/// How some cases were prepared, and which space they are in.
#[derive(Debug, Clone, Copy)]
pub struct Prepared<'a> {
    /// The configuration.
    pub config: &'a PrepConfig,
    /// The space, if it is known.
    pub frame: Option<&'a TemplateFrame>,
}

impl Prepared<'_> {
    /// The differences from other cases that matter to a network.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut differences = self.config.differences(other.config);
        differences.extend(self.space_difference(other));
        differences.sort_by_key(|difference| difference.aspect);
        differences
    }

    fn space_difference(&self, other: &Self) -> Option<Difference> {
        let (ours, theirs) = (&self.frame?.space, &other.frame?.space);
        let is_one = match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours == theirs || ours.is_shared_with(theirs),
            (None, None) => true,
            _ => false,
        };
        let told = |space: &Option<_>| match space {
            Some(space) => ToString::to_string(space),
            None => "several spaces".to_owned(),
        };
        (!is_one).then(|| Difference { aspect: Aspect::Space, ours: told(ours), theirs: told(theirs) })
    }
}

/// Refuses cases that were prepared in another way than those that the network of `origin` was trained on, unless all
/// differences are `accepted`. Returns the accepted differences.
///
/// # Errors
/// [`Error::Differences`] lists the others.
pub fn refuse_differences(
    origin: &str,
    learnt_from: &Prepared<'_>,
    cases: &Prepared<'_>,
    accepted: &[Aspect],
) -> Result<Vec<Difference>> {
    let differences = learnt_from.differences(cases);
    let is_accepted = |difference: &Difference| accepted.contains(&difference.aspect);
    let (kept, refused): (Vec<_>, Vec<_>) = differences.into_iter().partition(is_accepted);
    if refused.is_empty() {
        return Ok(kept);
    }
    Err(Error::Differences { origin: origin.to_owned(), differences: refused })
}

#[cfg(test)]
mod tests {
    use brainmvp_prep::Space;
    use brainmvp_prep::cache::GridRecord;
    use brainmvp_registration::StandardSpace;
    use brainmvp_volume::{Affine, Grid};

    use super::*;

    fn frame(space: Option<Space>) -> TemplateFrame {
        let grid = Grid::new([2; 3], Affine::from_spacing([1.0; 3], [0.0; 3]));
        TemplateFrame { registered: GridRecord::from(&grid), space }
    }

    #[test]
    fn every_difference_is_listed_and_can_be_accepted() {
        let (ours, theirs) =
            (frame(Some(Space::Standard(StandardSpace::Mni152))), frame(Some(Space::Native)));
        let (paper, other) = (
            PrepConfig::default(),
            PrepConfig { percentiles: [5.0, 95.0], spacing_mm: [1.5; 3], ..PrepConfig::default() },
        );
        let learnt_from = Prepared { config: &paper, frame: Some(&ours) };
        let cases = Prepared { config: &other, frame: Some(&theirs) };
        let refuse = |accepted: &[Aspect]| refuse_differences("run", &learnt_from, &cases, accepted);
        let message = refuse(&[]).unwrap_err().to_string();
        for part in
            ["run", "percentiles 1-99 against 5-95", "spacing 1 mm against 1.5 mm", "space MNI152 against"]
        {
            assert!(message.contains(part), "{message}");
        }
        let message = refuse(&[Aspect::Spacing, Aspect::Space]).unwrap_err().to_string();
        assert!(!message.contains("spacing") && message.contains("percentiles"), "{message}");
        let all = refuse(&[Aspect::Spacing, Aspect::Space, Aspect::Percentiles]).unwrap();
        assert_eq!(all.len(), 3);
        // Nothing is known of the space of one of them: nothing is said of it.
        let cases = Prepared { config: &paper, frame: None };
        assert_eq!(learnt_from.differences(&cases), []);
    }
}
