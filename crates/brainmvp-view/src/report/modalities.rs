//! The order of modalities in tables.

use brainmvp_volume::Modality;

/// Names of modalities, each once, in the order of the templates; other names come last.
pub(super) fn in_their_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_by_key(|name| (name.parse().map_or(Modality::ALL.len(), Modality::index), *name));
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modalities_are_in_the_order_of_the_templates() {
        assert_eq!(
            in_their_order(["t2", "x", "flair", "t2", "adc"].into_iter()),
            ["flair", "t2", "adc", "x"]
        );
    }
}
