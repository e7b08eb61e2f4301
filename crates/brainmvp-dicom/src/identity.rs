//! What a volume is, by how it was acquired and what its series is called ([`brainmvp_cohort::identity`]).

use brainmvp_cohort::identity::{self, Aliases, Finding};

use crate::acquisition::Acquisition;
use crate::frame::{Component, Frame};

/// What the attributes of a volume with this many slices say.
pub(crate) fn finding(acquisition: &Acquisition, frame: &Frame, slices: usize) -> Finding {
    let component = match frame.component {
        Component::Magnitude => None,
        Component::Phase => Some("PHASE".to_owned()),
        Component::Real => Some("REAL".to_owned()),
        Component::Imaginary => Some("IMAGINARY".to_owned()),
    };
    let known = identity::Acquisition {
        device: Some(acquisition.device.clone()),
        description: acquisition.description.clone(),
        protocol: acquisition.protocol.clone(),
        echo_time_ms: frame.echo_time_ms,
        repetition_time_ms: acquisition.repetition_time_ms,
        inversion_time_ms: frame.inversion_time_ms,
        scanning_sequence: acquisition.scanning_sequence.clone(),
        image_type: frame.image_type.clone(),
        sequence_name: acquisition.sequence_name.clone(),
        contrast: acquisition.contrast.clone(),
        agent: acquisition.agent.clone(),
        body_part: acquisition.body_part.clone(),
        component,
        b_value: frame.b_value,
        one_direction: frame.direction.is_some(),
        slices: Some(slices),
    };
    identity::of_series(&known, &Aliases::default())
}
