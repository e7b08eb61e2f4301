//! Values of elements, for a whole file or one of its frames.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// Looks up the values that apply to one frame.
///
/// An enhanced multi-frame file has them in functional groups, of the frame or shared by all (PS3.3, C.7.6.16); a
/// classic file has them at its root. The first of these that has a value is used.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    groups: [Option<&'a InMemDicomObject>; 2],
    root: &'a InMemDicomObject,
}

impl<'a> Scope<'a> {
    /// The scope of frame `index` (from 0).
    pub(crate) fn new(root: &'a InMemDicomObject, index: usize) -> Self {
        let frame = items(root, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).get(index);
        let shared = items(root, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
        Self { groups: [frame, shared], root }
    }

    pub(crate) fn root(&self) -> &'a InMemDicomObject {
        self.root
    }

    /// The data sets that may hold an element of `sequence`, nearest first; the root last.
    pub(crate) fn places(&self, sequence: Tag) -> impl Iterator<Item = &'a InMemDicomObject> + use<'a> {
        let groups = self.groups.into_iter().flatten();
        groups.filter_map(move |group| items(group, sequence).first()).chain([self.root])
    }

    /// The text of an element, if it has any.
    pub(crate) fn text(&self, sequence: Tag, tag: Tag) -> Option<String> {
        self.places(sequence).find_map(|place| text(place, tag))
    }

    /// The words of an element of several values.
    pub(crate) fn words(&self, sequence: Tag, tag: Tag) -> Vec<String> {
        self.text(sequence, tag).map(|text| split_words(&text)).unwrap_or_default()
    }

    /// The first number of an element, if it is finite.
    pub(crate) fn number(&self, sequence: Tag, tag: Tag) -> Option<f64> {
        self.places(sequence).find_map(|place| number(place, tag))
    }

    /// As [`Scope::number`], but a value that is not a number is an error and not `None`; `name` is the element's.
    ///
    /// # Errors
    /// As a sentence about the file.
    pub(crate) fn stated_number(&self, sequence: Tag, tag: Tag, name: &str) -> Result<Option<f64>, String> {
        self.places(sequence).find_map(|place| stated_number(place, tag, name).transpose()).transpose()
    }

    /// Exactly `N` finite numbers.
    pub(crate) fn numbers<const N: usize>(&self, sequence: Tag, tag: Tag) -> Option<[f64; N]> {
        self.places(sequence).find_map(|place| numbers(place, tag))
    }
}

/// The items of a sequence; none if it is absent.
pub(crate) fn items(data_set: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    data_set.get(tag).and_then(|element| element.items()).unwrap_or_default()
}

/// Trimmed text, with `\` between several values; `None` if there is none.
pub(crate) fn text(data_set: &InMemDicomObject, tag: Tag) -> Option<String> {
    let text = data_set.get(tag)?.to_str().ok()?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// The words of an element of several values, in capitals.
pub(crate) fn words(data_set: &InMemDicomObject, tag: Tag) -> Vec<String> {
    text(data_set, tag).map(|text| split_words(&text)).unwrap_or_default()
}

fn split_words(text: &str) -> Vec<String> {
    text.split('\\').map(|word| word.trim().to_uppercase()).filter(|word| !word.is_empty()).collect()
}

/// The first number of an element, if it is finite.
pub(crate) fn number(data_set: &InMemDicomObject, tag: Tag) -> Option<f64> {
    let numbers = data_set.get(tag)?.to_multi_float64().ok()?;
    numbers.first().copied().filter(|number| number.is_finite())
}

/// As [`number`], but a value that is not a number is an error and not `None`; `name` is the element's.
///
/// # Errors
/// As a sentence about the file.
pub(crate) fn stated_number(
    data_set: &InMemDicomObject,
    tag: Tag,
    name: &str,
) -> Result<Option<f64>, String> {
    match (number(data_set, tag), text(data_set, tag)) {
        (None, Some(text)) => Err(format!("its {name} is '{text}', not a number")),
        (number, _) => Ok(number),
    }
}

/// As [`count`], but a value that is not a count is an error and not `None`; `name` is the element's.
///
/// # Errors
/// As a sentence about the file.
pub(crate) fn stated_count(
    data_set: &InMemDicomObject,
    tag: Tag,
    name: &str,
) -> Result<Option<usize>, String> {
    match (count(data_set, tag), text(data_set, tag)) {
        (None, Some(text)) => Err(format!("its {name} is '{text}', not a count")),
        (count, _) => Ok(count),
    }
}

/// Exactly `N` finite numbers.
pub(crate) fn numbers<const N: usize>(data_set: &InMemDicomObject, tag: Tag) -> Option<[f64; N]> {
    let numbers: [f64; N] = data_set.get(tag)?.to_multi_float64().ok()?.try_into().ok()?;
    numbers.iter().all(|number| number.is_finite()).then_some(numbers)
}

/// A whole number within the range of a count or size.
pub(crate) fn count(data_set: &InMemDicomObject, tag: Tag) -> Option<usize> {
    let number = number(data_set, tag)?;
    (number >= 0.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0).then_some(number as usize)
}
