//! Ids from paths.

use std::collections::BTreeMap;

/// Ids from the last parts of each path: one part where that is unique, several (`TrainingData-1`) where not.
pub(super) fn shortest_unique(cases: &[Vec<String>]) -> Vec<String> {
    let mut lengths = vec![1; cases.len()];
    let id = |parts: &[String], length: usize| parts[parts.len() - length..].join("-");
    loop {
        let mut holders: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, parts) in cases.iter().enumerate() {
            holders.entry(id(parts, lengths[i]).to_lowercase()).or_default().push(i);
        }
        let clashing = holders.into_values().filter(|holders| holders.len() > 1).flatten();
        let longer: Vec<usize> = clashing.filter(|i| lengths[*i] < cases[*i].len()).collect();
        if longer.is_empty() {
            return cases.iter().zip(lengths).map(|(parts, length)| id(parts, length)).collect();
        }
        for i in longer {
            lengths[i] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_as_short_as_they_can_be() {
        let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        let cases = ["d/TrainingData/1", "d/TestData/1", "d/TestData/2", "d/A/x/p", "d/B/x/p"].map(parts);
        assert_eq!(shortest_unique(&cases), ["TrainingData-1", "TestData-1", "2", "A-x-p", "B-x-p"]);
        let same = ["d/a", "d/a"].map(parts);
        assert_eq!(shortest_unique(&same), ["d-a", "d-a"], "no way to tell them apart");
    }
}
