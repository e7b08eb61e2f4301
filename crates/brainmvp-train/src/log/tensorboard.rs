//! Event files for TensorBoard.
//!
//! A file is a sequence of TFRecords, each holding one `Event` message. The messages, of which only the fields
//! below are written, come from TensorBoard's `compat/proto/event.proto` and `summary.proto`:
//!
//! ```text
//! Event         double wall_time = 1; int64 step = 2;
//!               oneof { string file_version = 3; Summary summary = 5; SessionLog session_log = 7; }
//! Summary       repeated Value value = 1;
//! Value         string tag = 1; oneof { float simple_value = 2; Image image = 4; }
//! Image         int32 height = 1; int32 width = 2; int32 colorspace = 3; bytes encoded_image_string = 4;
//! SessionLog    SessionStatus status = 1;
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use brainmvp_volume::picture::Picture;
use brainmvp_volume::{AtPath as _, FileError};

use super::Result;

/// The version of the format, at the start of every file.
const FILE_VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`.
const START: u64 = 1;
/// `Image.colorspace` of a picture with one channel, and with three.
const CHANNELS: [u64; 2] = [1, 3];

/// Writes scalars and pictures to a new event file in the folder of a run.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventWriter {
    /// Starts a file in `folder`, which is created if necessary.
    ///
    /// TensorBoard discards what earlier files in the folder have for `first_step` and later steps. For a run resumed
    /// after step n this is n + 1, the first step that it takes (again); for a new run, 0.
    ///
    /// # Errors
    /// If the folder or the file cannot be written.
    pub fn create(folder: &Path, first_step: u64) -> Result<Self> {
        std::fs::create_dir_all(folder).at(folder)?;
        let (path, file) = new_file(folder, wall_time_s() as u64)?;
        let mut writer = Self { path, file: BufWriter::new(file) };
        writer.write(0, What::FileVersion)?;
        writer.write(first_step, What::SessionStart)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Adds a point to the curve `tag`, in single precision; NaN and infinities are allowed.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f64) -> Result<()> {
        self.write(step, What::Scalar { tag, value: value as f32 })
    }

    /// Adds a picture to the series `tag`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn image(&mut self, step: u64, tag: &str, picture: &Picture) -> Result<()> {
        self.write(step, What::Image { tag, picture })
    }

    /// Passes everything written to the system, so that TensorBoard sees it and a killed process does not lose it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.file.flush().at(&self.path)?)
    }

    /// The event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, step: u64, what: What<'_>) -> Result<()> {
        let record = record(&event(wall_time_s(), step, what));
        Ok(self.file.write_all(&record).at(&self.path)?)
    }
}

/// The contents of an event.
enum What<'a> {
    FileVersion,
    SessionStart,
    Scalar { tag: &'a str, value: f32 },
    Image { tag: &'a str, picture: &'a Picture },
}

/// The `Event` message.
fn event(wall_time_s: f64, step: u64, what: What<'_>) -> Vec<u8> {
    let event = Message::default().double(1, wall_time_s).integer(2, step);
    let summary = |value: Message| Message::default().bytes(1, &value.0);
    let event = match what {
        What::FileVersion => event.bytes(3, FILE_VERSION.as_bytes()),
        What::SessionStart => event.bytes(7, &Message::default().integer(1, START).0),
        What::Scalar { tag, value } => {
            let value = Message::default().bytes(1, tag.as_bytes()).float(2, value);
            event.bytes(5, &summary(value).0)
        }
        What::Image { tag, picture } => {
            let size =
                Message::default().integer(1, picture.height() as u64).integer(2, picture.width() as u64);
            let image = size.integer(3, CHANNELS[usize::from(!picture.is_grey())]).bytes(4, &picture.png());
            let value = Message::default().bytes(1, tag.as_bytes()).bytes(4, &image.0);
            event.bytes(5, &summary(value).0)
        }
    };
    event.0
}

/// A protocol-buffer message under construction, field by field. Field numbers stay below 16, so a key is one byte.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn integer(self, field: u8, value: u64) -> Self {
        self.key(field, 0).varint(value)
    }

    fn double(mut self, field: u8, value: f64) -> Self {
        self = self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u8, value: &[u8]) -> Self {
        self = self.key(field, 2).varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn float(mut self, field: u8, value: f32) -> Self {
        self = self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn key(mut self, field: u8, wire_type: u8) -> Self {
        self.0.push(field << 3 | wire_type);
        self
    }

    /// Seven bits per byte, the lowest first; the top bit means that more follow.
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }
}

/// A TFRecord: the length, its checksum, the data, its checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length, &masked_crc(&length)[..], data, &masked_crc(data)].concat()
}

/// The CRC-32C of the data, rotated and shifted as TFRecord requires, so that records may contain checksums themselves.
fn masked_crc(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// A file named after the second `seconds` since 1970, or the first second after it that is free: TensorBoard
/// reads the files of a folder in the order of their names.
fn new_file(folder: &Path, mut seconds: u64) -> Result<(PathBuf, File)> {
    loop {
        let path = folder.join(format!("events.out.tfevents.{seconds}.brainmvp"));
        match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => seconds += 1,
            Err(source) => return Err(FileError::new(&path, source).into()),
            Ok(file) => return Ok((path, file)),
        }
    }
}

/// Seconds since 1970.
fn wall_time_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |duration| duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::picture::Plane;

    use super::*;

    /// A field as read back: its number and what it holds.
    #[derive(Debug, Clone, PartialEq)]
    enum Field {
        Integer(u8, u64),
        Double(u8, f64),
        Bytes(u8, Vec<u8>),
        Float(u8, f32),
    }

    fn take<'a>(data: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (head, tail) = data.split_at(count);
        *data = tail;
        head
    }

    fn read_varint(data: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = take(data, 1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn fields(mut data: &[u8]) -> Vec<Field> {
        let mut fields = Vec::new();
        while !data.is_empty() {
            let key = read_varint(&mut data) as u8;
            let number = key >> 3;
            fields.push(match key & 7 {
                0 => Field::Integer(number, read_varint(&mut data)),
                1 => Field::Double(number, f64::from_le_bytes(take(&mut data, 8).try_into().unwrap())),
                2 => {
                    let length = read_varint(&mut data) as usize;
                    Field::Bytes(number, take(&mut data, length).to_vec())
                }
                5 => Field::Float(number, f32::from_le_bytes(take(&mut data, 4).try_into().unwrap())),
                other => panic!("wire type {other}"),
            });
        }
        fields
    }

    /// The content of the only field of a message, which holds bytes.
    fn only(data: &[u8], number: u8) -> Vec<u8> {
        match fields(data).as_slice() {
            [Field::Bytes(found, content)] if *found == number => content.clone(),
            other => panic!("not the single field {number}: {other:?}"),
        }
    }

    /// CRC-32C bit by bit, from its polynomial.
    fn plain_crc(data: &[u8]) -> u32 {
        !data.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
        })
    }

    fn check(data: &[u8], masked: &[u8]) {
        let turned = u32::from_le_bytes(masked.try_into().unwrap()).wrapping_sub(0xa282_ead8);
        assert_eq!(turned.rotate_left(15), plain_crc(data));
    }

    /// The events of a file as (step, what), lengths and checksums verified.
    fn events(path: &Path) -> Vec<(u64, Field)> {
        let content = std::fs::read(path).unwrap();
        let (mut data, mut events) = (content.as_slice(), Vec::new());
        while !data.is_empty() {
            let length = take(&mut data, 8);
            check(length, take(&mut data, 4));
            let event = take(&mut data, u64::from_le_bytes(length.try_into().unwrap()) as usize);
            check(event, take(&mut data, 4));
            match fields(event).as_slice() {
                [Field::Double(1, wall_time_s), Field::Integer(2, step), what] => {
                    assert!((wall_time_s - super::wall_time_s()).abs() < 60.0);
                    events.push((*step, what.clone()));
                }
                other => panic!("not an event: {other:?}"),
            }
        }
        events
    }

    /// The bytes are those of TensorBoard 2.21's own `RecordWriter` and `event_pb2`.
    #[test]
    fn a_record_has_the_bytes_of_tensorboard() {
        assert_eq!(plain_crc(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
        let what = What::Scalar { tag: "loss", value: 0.5 };
        let bytes = record(&event(1.5, 300, what));
        #[rustfmt::skip]
        let expected = [
            27, 0, 0, 0, 0, 0, 0, 0, 0x1a, 0x0d, 0x9e, 0x13, // length and checksum
            0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, // wall time
            0x10, 0xac, 0x02, // step
            0x2a, 13, 0x0a, 11, // summary, value
            0x0a, 4, b'l', b'o', b's', b's', // tag
            0x15, 0, 0, 0, 0x3f, // simple value
            0x69, 0xf9, 0x31, 0x5b, // checksum
        ];
        assert_eq!(bytes, expected, "{bytes:02x?}");
    }

    #[test]
    fn scalars_and_pictures_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(&folder.path().join("tensorboard"), 0).unwrap();
        let volume: Vec<f32> = (0..60).map(|index| index as f32).collect();
        let picture = Picture::slice(&volume, [5, 4, 3], Plane::Axial, 1, (0.0, 60.0));
        writer.scalar(1, "loss", 0.75).unwrap();
        writer.scalar(1 << 40, "lr", f64::INFINITY).unwrap();
        writer.image(2, "views", &picture).unwrap();
        writer.flush().unwrap();

        let events = events(writer.path());
        assert_eq!(events[0], (0, Field::Bytes(3, b"brain.Event:2".to_vec())));
        assert_eq!(events[1], (0, Field::Bytes(7, vec![0x08, 1])));
        let summaries: Vec<_> = events[2..]
            .iter()
            .map(|(step, what)| match what {
                Field::Bytes(5, summary) => (*step, fields(&only(summary, 1))),
                other => panic!("not a summary: {other:?}"),
            })
            .collect();
        let tag = |name: &str| Field::Bytes(1, name.as_bytes().to_vec());
        assert_eq!(summaries[0], (1, vec![tag("loss"), Field::Float(2, 0.75)]));
        assert_eq!(summaries[1], (1 << 40, vec![tag("lr"), Field::Float(2, f32::INFINITY)]));
        let (2, [name, Field::Bytes(4, image)]) = (summaries[2].0, summaries[2].1.as_slice()) else {
            panic!("not a picture: {:?}", summaries[2])
        };
        assert_eq!(*name, tag("views"));
        let size = [Field::Integer(1, 4), Field::Integer(2, 5), Field::Integer(3, 1)];
        assert_eq!(fields(image), [&size[..], &[Field::Bytes(4, picture.png())]].concat());
    }

    #[test]
    fn a_run_that_goes_on_opens_a_later_file_at_its_step() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..12)
            .map(|index| EventWriter::create(folder.path(), index * 100).unwrap().path().to_owned())
            .collect();
        assert!(paths.is_sorted() && paths[0] != paths[1]);
        assert_eq!(events(&paths[11])[1], (1100, Field::Bytes(7, vec![0x08, 1])));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("taken"), "").unwrap();
        let error = EventWriter::create(&folder.path().join("taken"), 0).unwrap_err();
        assert!(error.to_string().contains("taken"));
    }
}
