//! Damaged transforms: an error or another transform, within a second and little memory.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use brainmvp_fuzz::{Memory, Place, Seed, fuzz};
use brainmvp_registration::itk;

#[global_allocator]
static MEMORY: brainmvp_fuzz::Counting = brainmvp_fuzz::Counting;

/// The text, and a number of eight bytes for every two of it, in a list that doubles.
const TEXT: Memory = Memory { fixed: 64 << 10, for_each_byte: 32 };

#[test]
fn transforms_of_itk() {
    let file = |kind: &str, parameters: &str, fixed: &str| {
        Seed::new(format!(
            "#Insight Transform File V1.0\n#Transform 0\nTransform: {kind}_double_3_3\nParameters: {parameters}\nFixedParameters: {fixed}\n"
        ))
    };
    let seeds = [
        file("AffineTransform", "1 0 0.5 0 1 0 0 0 1 5 6 7", "0 0 0"),
        file("Euler3DTransform", "0.1 -0.2 0.3 5 -6 7", "10 20 30 0"),
        file("VersorRigid3DTransform", "0.1 -0.2 0.3 5 -6 7", "10 20 30"),
        file("Similarity3DTransform", "0.1 -0.2 0.3 5 -6 7 1.1", "10 20 30"),
        file("TranslationTransform", "1 2 3", ""),
        file("IdentityTransform", "", ""),
    ];
    let place = Place::new("a.tfm");
    fuzz("transforms of ITK (.txt, .tfm)", &seeds, TEXT, |bytes| {
        let transform = itk::read(place.holding(bytes)).map_err(|error| error.to_string())?;
        assert!(transform.inverse().is_some());
        Ok(())
    });
}
