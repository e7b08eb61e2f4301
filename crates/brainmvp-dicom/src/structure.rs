//! Checks that the lengths in a file stay within it, before the file is parsed.
//!
//! The parser trusts a length and allocates memory for it, up to 4 GiB for one element, and reads nested sequences by
//! recursion. So each file is walked first: its elements must fill it, and must not nest deeper than in real files.
//! (DICOM PS3.5, section 7: the data set; PS3.10, section 7: the file.)

use std::io::{Read, Seek, SeekFrom};

use dicom_core::dictionary::DataDictionary as _;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};

/// Bytes before the first element: 128 arbitrary ones, and `DICM`.
pub(crate) const PREAMBLE: u64 = 132;

/// Real files have four levels or so.
const DEEPEST: usize = 32;

/// Retired, but still found in archives.
pub(crate) const EXPLICIT_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

const UNDEFINED: u32 = u32::MAX;
const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);

/// How elements are encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Explicit { big_endian: bool },
    Implicit,
}

/// Walks all elements up to the end of the pixel data, and says where that is: what follows was not looked at, and must not be
/// given to the parser. The reader may be at any position.
///
/// # Errors
/// What is wrong and where, as a sentence.
pub(crate) fn check(reader: &mut (impl Read + Seek), file_bytes: u64) -> Result<u64, String> {
    reader.seek(SeekFrom::Start(PREAMBLE)).map_err(|e| e.to_string())?;
    let mut walk = Walk {
        reader,
        at: PREAMBLE,
        encoding: Encoding::Explicit { big_endian: false },
        syntax: String::new(),
        header_end: None,
    };
    walk.elements(file_bytes, 0, true)?;
    Ok(walk.at)
}

struct Walk<'a, R> {
    reader: &'a mut R,
    at: u64,
    encoding: Encoding,
    syntax: String,
    /// Where the file's own header ends, as it says itself.
    header_end: Option<u64>,
}

/// The head of an element.
struct Head {
    tag: Tag,
    vr: Option<VR>,
    length: u32,
}

impl<R: Read + Seek> Walk<'_, R> {
    /// Elements up to `end`, or up to the delimiter of an item of undefined length.
    fn elements(&mut self, end: u64, depth: usize, root: bool) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("sequences nest deeper than {DEEPEST} levels at byte {}", self.at));
        }
        let mut in_meta = root;
        while self.at < end {
            let start = self.at;
            if in_meta && self.peek_group()? != 0x0002 {
                in_meta = false;
                self.encoding = encoding_of(&self.syntax)?;
                // The parser goes by that length, and not by what is there.
                if self.header_end.is_some_and(|end| end != start) {
                    return Err(format!(
                        "corrupt: its header ends at byte {start}, but not by its own length"
                    ));
                }
            }
            let head = self.head(end)?;
            if head.tag == ITEM_END && head.length == 0 && !root {
                return Ok(());
            }
            if head.length == UNDEFINED {
                let fragments =
                    head.tag == tags::PIXEL_DATA && matches!(head.vr, Some(VR::OB | VR::OW | VR::UN));
                self.items(end, depth, head.vr, fragments)?;
            } else {
                let stop = self.at + u64::from(head.length);
                if stop > end {
                    return Err(format!(
                        "truncated or corrupt: element {} at byte {start} needs {} bytes, but there are {}",
                        head.tag,
                        head.length,
                        end - self.at
                    ));
                }
                // The parser would read whole numbers and take what is left of the last for the next element. Nothing follows the
                // pixels.
                let unit = head.vr.map_or(1, bytes_of_a_number);
                if head.length % unit != 0 && !(root && head.tag == tags::PIXEL_DATA) {
                    return Err(format!(
                        "corrupt: element {} at byte {start} has {} bytes, but its numbers have {unit}",
                        head.tag, head.length
                    ));
                }
                if head.vr == Some(VR::SQ) {
                    self.items(stop, depth, head.vr, false)?;
                } else if head.tag == tags::TRANSFER_SYNTAX_UID && in_meta {
                    self.read_syntax(head.length)?;
                } else if head.tag == tags::FILE_META_INFORMATION_GROUP_LENGTH && in_meta {
                    self.header_end = Some(u64::from(self.u32(stop)?) + self.at);
                }
                self.seek(stop)?;
            }
            if root && head.tag == tags::PIXEL_DATA {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Items of a sequence or fragments of pixel data, up to `end` or the delimiter.
    fn items(&mut self, end: u64, depth: usize, vr: Option<VR>, fragments: bool) -> Result<(), String> {
        // An unknown element of undefined length is a sequence in implicit form (PS3.5, 6.2.2).
        let outer = self.encoding;
        if vr == Some(VR::UN) && !fragments {
            self.encoding = Encoding::Implicit;
        }
        while self.at < end {
            let start = self.at;
            let head = self.item_head(end)?;
            match head.tag {
                SEQUENCE_END => break,
                ITEM if head.length == UNDEFINED && !fragments => self.elements(end, depth + 1, false)?,
                ITEM => {
                    let stop = self.at + u64::from(head.length);
                    if stop > end {
                        return Err(format!(
                            "truncated or corrupt: an item at byte {start} needs {} bytes, but there are {}",
                            head.length,
                            end - self.at
                        ));
                    }
                    if !fragments {
                        self.elements(stop, depth + 1, false)?;
                    }
                    self.seek(stop)?;
                }
                other => {
                    return Err(format!(
                        "corrupt: element {other} at byte {start}, where an item is expected"
                    ));
                }
            }
        }
        self.encoding = outer;
        Ok(())
    }

    fn head(&mut self, end: u64) -> Result<Head, String> {
        let tag = self.tag(end)?;
        if tag.group() == 0xFFFE || self.encoding == Encoding::Implicit {
            let vr = StandardDataDictionary.by_tag(tag).map(|entry| entry.vr.relaxed());
            return Ok(Head { tag, vr, length: self.u32(end)? });
        }
        let code: [u8; 2] = self.bytes(end)?;
        let vr = VR::from_binary(code);
        let length = match vr {
            Some(
                VR::OB
                | VR::OD
                | VR::OF
                | VR::OL
                | VR::OV
                | VR::OW
                | VR::SQ
                | VR::SV
                | VR::UC
                | VR::UN
                | VR::UR
                | VR::UT
                | VR::UV,
            ) => {
                self.bytes::<2>(end)?;
                self.u32(end)?
            }
            Some(_) => u32::from(self.u16(end)?),
            None => return Err(format!("corrupt: element {tag} at byte {} has no valid type", self.at - 6)),
        };
        Ok(Head { tag, vr, length })
    }

    fn item_head(&mut self, end: u64) -> Result<Head, String> {
        let tag = self.tag(end)?;
        Ok(Head { tag, vr: None, length: self.u32(end)? })
    }

    fn read_syntax(&mut self, length: u32) -> Result<(), String> {
        let mut text = vec![0; length.min(64) as usize];
        self.reader.read_exact(&mut text).map_err(|e| e.to_string())?;
        self.at += text.len() as u64;
        // As the parser has it: Latin-1, and all kinds of white space may follow.
        let text: String = text.into_iter().map(char::from).collect();
        text.trim_end_matches(|c: char| c.is_whitespace() || c == '\0').clone_into(&mut self.syntax);
        Ok(())
    }

    fn peek_group(&mut self) -> Result<u16, String> {
        let mut bytes = [0; 2];
        // A single byte at the end of the file is reported when the tag is read.
        if self.reader.read_exact(&mut bytes).is_err() {
            return Ok(0);
        }
        self.reader.seek(SeekFrom::Start(self.at)).map_err(|e| e.to_string())?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn seek(&mut self, to: u64) -> Result<(), String> {
        // A relative seek keeps the buffer of a buffered reader.
        let by = to as i64 - self.at as i64;
        self.reader.seek_relative(by).map_err(|e| e.to_string())?;
        self.at = to;
        Ok(())
    }

    fn tag(&mut self, end: u64) -> Result<Tag, String> {
        Ok(Tag(self.u16(end)?, self.u16(end)?))
    }

    fn u16(&mut self, end: u64) -> Result<u16, String> {
        let bytes = self.bytes(end)?;
        Ok(if self.big_endian() { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&mut self, end: u64) -> Result<u32, String> {
        let bytes = self.bytes(end)?;
        Ok(if self.big_endian() { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn big_endian(&self) -> bool {
        self.encoding == Encoding::Explicit { big_endian: true }
    }

    fn bytes<const N: usize>(&mut self, end: u64) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        if self.at + N as u64 > end || self.reader.read_exact(&mut bytes).is_err() {
            return Err(format!("truncated or corrupt: an element is cut off at byte {}", self.at));
        }
        self.at += N as u64;
        Ok(bytes)
    }
}

/// How the data set after the file's own header is encoded.
fn encoding_of(syntax: &str) -> Result<Encoding, String> {
    match syntax {
        "" => Err("the file does not state its transfer syntax".to_owned()),
        uids::IMPLICIT_VR_LITTLE_ENDIAN => Ok(Encoding::Implicit),
        EXPLICIT_BIG_ENDIAN => Ok(Encoding::Explicit { big_endian: true }),
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => {
            Err("deflated, and its header is not in the standard form; convert it with dcm2niix".to_owned())
        }
        _ => Ok(Encoding::Explicit { big_endian: false }),
    }
}
/// How many bytes a number of this type has; 1 for text.
fn bytes_of_a_number(vr: VR) -> u32 {
    match vr {
        VR::OW | VR::SS | VR::US => 2,
        VR::AT | VR::FL | VR::OF | VR::OL | VR::SL | VR::UL => 4,
        VR::FD | VR::OD | VR::OV | VR::SV | VR::UV => 8,
        _ => 1,
    }
}
