//! Damaged tables of predictions: an error or other answers, within a second.

use std::collections::BTreeMap;

use brainmvp_fuzz::{Memory, Place, Seed, fuzz};

use super::by_case::{Answers, Table};
use super::classes::Classes;
use super::numbers::Numbers;
use crate::commands::predict::Told;

#[global_allocator]
static MEMORY: brainmvp_fuzz::Counting = brainmvp_fuzz::Counting;

/// The other tests of the program run beside this one, so that a bound says little.
const BESIDE_OTHERS: Memory = Memory { fixed: 256 << 20, for_each_byte: 400 };

fn answers<A: Answers>(table: Table<'_>, kind: &A) -> Result<BTreeMap<String, A::Answer>, String> {
    table.answers(kind).map_err(|error| format!("{error:#}"))
}

#[test]
fn tables_of_predictions() {
    let seeds = [
        "case,class,p(HGG),p(LGG)\na,HGG,0.75,0.25\nb,LGG,0.125,0.875\n\"c, d\",HGG,1,0\n",
        "case,age\na,63.5\nb,-1e1\n",
    ];
    let place = Place::new("predictions.csv");
    fuzz("tables of predictions (predictions.csv)", &seeds.map(Seed::new), BESIDE_OTHERS, |bytes| {
        let table = Table::open(place.holding(bytes)).map_err(|error| format!("{error:#}"))?;
        if let Some(numbers) = table.of::<Numbers>() {
            return answers(table, &numbers).map(drop);
        }
        let classes: Classes =
            table.of().map_or_else(|| table.refused(), Ok).map_err(|error| format!("{error:#}"))?;
        for probabilities in answers(table, &classes)?.values() {
            assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
        }
        Ok(())
    });
}

#[test]
fn records_of_predictions() {
    let record = r#"{"version": 1, "settings": {"regions": [{"name": "WT", "labels": [1, 2]}]},
        "cases": {"a": {"seen": []}, "b": {"seen": null}, "c": {}}}"#;
    let place = Place::new("predictions.json");
    fuzz("records of predictions (predictions.json)", &[Seed::new(record)], BESIDE_OTHERS, |bytes| {
        place.holding(bytes);
        let told = Told::of(place.folder()).map_err(|error| format!("{error:#}"))?;
        drop(told.map(Told::into_seen));
        Ok(())
    });
}
