//! Finds the pictures in a TensorBoard event file, where runs keep them.
//!
//! A file is a sequence of records: length (8 bytes), its checksum (4), an `Event`, its checksum (4). Of an event these
//! fields matter: `2` step; `5` summary, with values `1`: `1` tag, `4` image, with `4` the PNG. See `train/log/tensorboard.rs`.
//! Checksums are not compared: a picture that is damaged is not shown by the browser.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

/// The longest record that is looked into.
const LONGEST: u64 = 64 << 20;
const LENGTH_AND_CHECKSUM: u64 = 12;
const CHECKSUM: u64 = 4;

/// A picture in an event file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) tag: String,
    pub(crate) step: u64,
    /// First byte of the PNG in the file.
    pub(crate) offset: u64,
    /// Its length in bytes.
    pub(crate) length: u64,
}

/// The pictures up to the end of the file, or to the first record that is not complete.
pub(crate) fn pictures(path: &Path) -> std::io::Result<Vec<Logged>> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut found, mut position, mut record) = (Vec::new(), 0_u64, Vec::new());
    let mut head = [0; LENGTH_AND_CHECKSUM as usize];
    while file.read_exact(&mut head).is_ok() {
        let [length, ..] = head.as_chunks::<8>().0 else { break };
        let length = u64::from_le_bytes(*length);
        if length > LONGEST {
            break;
        }
        record.clear();
        let whole = length + CHECKSUM;
        if file.by_ref().take(whole).read_to_end(&mut record)? as u64 != whole {
            break;
        }
        record.truncate(length as usize);
        let start = position + LENGTH_AND_CHECKSUM;
        found.extend(
            in_event(&record).into_iter().map(|logged| Logged { offset: start + logged.offset, ..logged }),
        );
        position = start + whole;
    }
    Ok(found)
}

/// The bytes of a picture; `None` if the file has been replaced by a shorter one.
pub(crate) fn png(path: &Path, logged: &Logged) -> Option<Vec<u8>> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(logged.offset)).ok()?;
    let mut bytes = Vec::new();
    file.take(logged.length).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == logged.length).then_some(bytes)
}

/// The pictures of an event, with offsets in it.
fn in_event(event: &[u8]) -> Vec<Logged> {
    let mut step = 0;
    let mut found = Vec::new();
    for (field, value) in Fields::of(event, 0) {
        match (field, value) {
            (2, Value::Number(number)) => step = number,
            (5, Value::Bytes(summary)) => {
                let values = Fields::of(event, 0).within(summary).filter(|(field, _)| *field == 1);
                found.extend(values.filter_map(|(_, value)| in_value(event, value)));
            }
            _ => {}
        }
    }
    found.into_iter().map(|logged| Logged { step, ..logged }).collect()
}

fn in_value(event: &[u8], value: Value) -> Option<Logged> {
    let Value::Bytes(value) = value else { return None };
    let (mut tag, mut png) = (None, None);
    for (field, value) in Fields::of(event, 0).within(value) {
        match (field, value) {
            (1, Value::Bytes(range)) => tag = Some(String::from_utf8_lossy(&event[range]).into_owned()),
            (4, Value::Bytes(image)) => {
                let mut fields = Fields::of(event, 0).within(image);
                png = fields.find_map(|(field, value)| match (field, value) {
                    (4, Value::Bytes(range)) => Some(range),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let png = png?;
    Some(Logged { tag: tag?, step: 0, offset: png.start as u64, length: png.len() as u64 })
}

/// What a field holds; bytes are where they are in the event.
#[derive(Debug, Clone)]
enum Value {
    Number(u64),
    Bytes(std::ops::Range<usize>),
    Other,
}

/// The fields of a protocol-buffer message, up to the first that is damaged.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Fields<'a> {
    fn of(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, end: bytes.len() }
    }

    fn within(self, range: std::ops::Range<usize>) -> Self {
        Self { at: range.start, end: range.end, ..self }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes[..self.end].get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, count: u64) -> Option<std::ops::Range<usize>> {
        let end = self.at.checked_add(usize::try_from(count).ok()?).filter(|end| *end <= self.end)?;
        let range = self.at..end;
        self.at = end;
        Some(range)
    }
}

impl Iterator for Fields<'_> {
    type Item = (u64, Value);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.skip(8).map(|_| Value::Other)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.skip(length)?)
            }
            5 => self.skip(4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, content.len() as u8];
        bytes.extend(content);
        bytes
    }

    fn record(event: &[u8]) -> Vec<u8> {
        [&(event.len() as u64).to_le_bytes()[..], &[0; 4], event, &[0; 4]].concat()
    }

    #[test]
    fn pictures_are_found_up_to_the_end_of_what_is_complete() {
        let image = [vec![1 << 3, 5], field(4, b"PNG!")].concat();
        let value = [field(1, b"views"), field(4, &image)].concat();
        let event =
            [vec![1 << 3 | 1], vec![0; 8], vec![2 << 3, 0x96, 1], field(5, &field(1, &value))].concat();
        let scalar = [vec![2 << 3, 3], field(5, &field(1, &field(1, b"loss")))].concat();
        let bytes = [record(&scalar), record(&event), record(&event)[..20].to_vec()].concat();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        std::fs::write(&path, &bytes).unwrap();
        let found = pictures(&path).unwrap();
        assert_eq!(found.len(), 1);
        let Logged { tag, step, offset, length } = &found[0];
        assert_eq!((tag.as_str(), *step), ("views", 150));
        assert_eq!(&bytes[*offset as usize..][..*length as usize], b"PNG!");
        for end in 0..event.len() {
            in_event(&event[..end]);
        }
    }
}
