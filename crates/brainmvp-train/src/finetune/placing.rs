//! Placing templates on the cases of a run, before it begins.

use std::sync::atomic::{AtomicBool, Ordering};

use brainmvp_objectives::downstream::Inputs;
use brainmvp_objectives::patch::PatchSource as _;

use super::data::Data;
use crate::batches::CaseSource;
use crate::placement::{How, Placed, Placer};
use crate::trainer::Observer;
use crate::{Error, Result};

/// Lays templates on every case that needs them: on training cases where copies are mixed with templates, and on any case
/// that lacks a modality which is replaced by a template.
pub(super) struct Placing<'a> {
    pub(super) placer: Placer<'a>,
    pub(super) inputs: &'a Inputs,
    /// Whether training cases are mixed with templates.
    pub(super) is_mixed: bool,
    pub(super) observer: &'a dyn Observer,
}

/// The number of cases for each way of placing templates.
#[derive(Default)]
struct Counts {
    centred: usize,
    world: usize,
    registered: usize,
    nowhere: usize,
}

impl Placing<'_> {
    /// Lays the templates on the cases. What came of it is said; a case that the rule refuses is left out by name. False
    /// if stopped on the way.
    ///
    /// # Errors
    /// If a case cannot be read, a transform cannot be kept, or no training case is left.
    pub(super) fn run(&self, data: &mut Data, stop: &AtomicBool) -> Result<bool> {
        let mut counts = Counts::default();
        let parts = [(&mut data.training, self.is_mixed), (&mut data.validation, false)];
        let far = parts.iter().flat_map(|(cases, is_mixed)| {
            cases.iter().filter(|case| self.needs(case, *is_mixed) && self.placer.must_register(case))
        });
        match far.count() {
            0 => {}
            far => self
                .observer
                .note(&format!("registering the templates to {far} cases outside their space, once")),
        }
        for (cases, is_mixed) in parts {
            let mut kept = Vec::with_capacity(cases.len());
            for case in cases.drain(..) {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                kept.extend(if self.needs(&case, is_mixed) {
                    self.place(case, &mut counts)?
                } else {
                    Some(case)
                });
            }
            *cases = kept;
        }
        if data.training.is_empty() {
            let reason = "no training case is in the space of the templates; with templates.placement = \"auto\" the \
                          templates are registered to the cases";
            return Err(Error::Config(reason.to_owned()));
        }
        self.tell(&counts);
        Ok(true)
    }

    fn needs(&self, case: &CaseSource, is_mixed: bool) -> bool {
        is_mixed || self.inputs.fills(case.modalities())
    }

    /// The case with templates placed on it, or without if they could not be placed; `None` if it is left out.
    fn place(&self, mut case: CaseSource, counts: &mut Counts) -> Result<Option<CaseSource>> {
        let count = match self.placer.place(&case)? {
            Placed::At(placement, how) => {
                case.place(placement);
                match how {
                    How::Centred => &mut counts.centred,
                    How::World => &mut counts.world,
                    How::Registered { .. } => &mut counts.registered,
                }
            }
            Placed::Nowhere(reason) => {
                self.observer.warn(&format!("case '{}' is used without templates: {reason}", case.id()));
                &mut counts.nowhere
            }
            Placed::Refused(reason) => {
                self.observer.warn(&format!("case '{}' is left out: {reason}", case.id()));
                return Ok(None);
            }
        };
        *count += 1;
        Ok(Some(case))
    }

    fn tell(&self, counts: &Counts) {
        let Counts { centred, world, registered, nowhere } = *counts;
        let parts = [
            (world, "by their coordinates"),
            (registered, "by registration"),
            (centred, "centre on centre, voxel by voxel"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, how)| format!("on {count} cases {how}"))
            .collect();
        if !parts.is_empty() {
            self.observer.note(&format!("templates are placed {}", parts.join(", ")));
        }
        if nowhere > 0 {
            self.observer.warn(&format!("{nowhere} cases are used without templates"));
        }
    }
}
