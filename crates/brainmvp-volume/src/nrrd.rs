//! NRRD files, raw or gzipped, as 3D Slicer and ITK write them: with their voxels in them (`.nrrd`), or in another file
//! beside them (`.nhdr`).
//!
//! Source: Definition of NRRD File Format, teem.sourceforge.net/nrrd/format.html. Voxels in several files, and other
//! encodings, are refused by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::gzip::{Section, Source};
use crate::nifti::{Datatype, MAX_VOXELS};
use crate::{Affine, AtPath as _, Error, Grid, Result, Volume};

/// The start of every file, before its version.
pub(crate) const MAGIC: &[u8] = b"NRRD";

/// No header of a single volume has more bytes than this.
const LONGEST_HEADER: usize = 1 << 16;

struct Header {
    grid: Grid,
    datatype: Datatype,
    big_endian: bool,
    voxels: Voxels,
}

/// Where the voxels are.
enum Voxels {
    /// In the file itself, from this byte.
    Inside(u64),
    /// In the file itself, as a gzip stream from this byte.
    Packed(u64),
    /// In another file, named relative to the folder of this one.
    Beside { file: String, skip: Skip },
}

/// The bytes before the voxels of another file.
#[derive(Clone, Copy)]
enum Skip {
    Bytes(u64),
    /// All but the voxels.
    ToTheEnd,
}

/// Reads an image.
pub(crate) fn read(path: &Path) -> Result<Volume> {
    let (header, source) = open(path)?;
    let count = header.voxel_bytes();
    let section: Section = match &header.voxels {
        Voxels::Packed(offset) => source.packed_section(*offset, count)?,
        Voxels::Inside(offset) => source.section(*offset, count)?,
        Voxels::Beside { file, skip } => {
            let file = beside(path, file);
            let skip = match skip {
                Skip::Bytes(bytes) => *bytes,
                Skip::ToTheEnd => {
                    let bytes = std::fs::metadata(&file).at(&file)?.len();
                    bytes.saturating_sub(count as u64)
                }
            };
            Source::open(&file)?.section(skip, count)?
        }
    };
    let voxels = header.datatype.decode(section.as_bytes(), header.big_endian, None);
    Ok(Volume::new(header.grid, voxels))
}

/// The grid, and the bytes of all voxels.
pub(crate) fn read_header(path: &Path) -> Result<(Grid, usize)> {
    let (header, _) = open(path)?;
    Ok((header.grid, header.voxel_bytes()))
}

/// The file with the voxels of a header (`.nhdr`); `None` if they are in the file itself.
pub(crate) fn voxel_file(path: &Path) -> Result<Option<PathBuf>> {
    let (header, _) = open(path)?;
    Ok(match header.voxels {
        Voxels::Beside { file, .. } => Some(beside(path, &file)),
        Voxels::Inside(_) | Voxels::Packed(_) => None,
    })
}

/// A file that is named in the header at `path`, with either separator.
fn beside(path: &Path, file: &str) -> PathBuf {
    let named = path.with_file_name(file);
    if named.exists() { named } else { path.with_file_name(file.replace('\\', "/")) }
}

fn open(path: &Path) -> Result<(Header, Source)> {
    let mut source = Source::open(path)?;
    let start = source.start(LONGEST_HEADER)?;
    let header = parse(&start).map_err(|problem| match problem {
        Problem::Malformed(reason) => Error::malformed(path, reason),
        Problem::Unsupported(reason) => Error::unsupported(path, reason),
    })?;
    Ok((header, source))
}

enum Problem {
    Malformed(String),
    Unsupported(String),
}

type Parsed<T> = std::result::Result<T, Problem>;

fn malformed<T>(reason: impl Into<String>) -> Parsed<T> {
    Err(Problem::Malformed(reason.into()))
}

fn unsupported<T>(reason: impl Into<String>) -> Parsed<T> {
    Err(Problem::Unsupported(reason.into()))
}

impl Header {
    fn voxel_bytes(&self) -> usize {
        self.grid.len() * self.datatype.size()
    }
}

/// The fields of a header by name, in lower case.
struct Fields(BTreeMap<String, String>);

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn need(&self, name: &str) -> Parsed<&str> {
        self.get(name).ok_or_else(|| Problem::Malformed(format!("its header has no field '{name}'")))
    }
}

fn parse(bytes: &[u8]) -> Parsed<Header> {
    let (fields, offset) = split(bytes)?;
    let is_packed = match fields.need("encoding")?.to_ascii_lowercase().as_str() {
        "raw" => false,
        "gzip" | "gz" => true,
        other => return unsupported(format!("encoding '{other}' is not read; save it as raw or gzip")),
    };
    let voxels = voxels(&fields, is_packed, offset as u64)?;
    let datatype = datatype_of(fields.need("type")?)?;
    let big_endian = match fields.get("endian").map(str::to_ascii_lowercase).as_deref() {
        Some("little") => false,
        Some("big") => true,
        None if datatype.size() == 1 => false,
        Some(other) => return malformed(format!("endian is '{other}'; it must be little or big")),
        None => return malformed("its header has no field 'endian'"),
    };
    let (shape, affine) = place(&fields)?;
    Ok(Header { grid: Grid::new(shape, affine), datatype, big_endian, voxels })
}

/// Where the voxels are; those of the file itself begin at `offset`.
fn voxels(fields: &Fields, is_packed: bool, offset: u64) -> Parsed<Voxels> {
    let file = fields.get("data file").or(fields.get("datafile"));
    for name in ["line skip", "lineskip"] {
        if fields.get(name).is_some_and(|skip| skip != "0") {
            return unsupported(format!("'{name}' is not supported; save it without"));
        }
    }
    let skip = match fields.get("byte skip").or(fields.get("byteskip")) {
        None | Some("0") => Skip::Bytes(0),
        Some("-1") if !is_packed && file.is_some() => Skip::ToTheEnd,
        Some(bytes) => match bytes.parse().ok().filter(|_| !is_packed && file.is_some()) {
            Some(bytes) => Skip::Bytes(bytes),
            None => return unsupported(format!("'byte skip: {bytes}' is not supported; save it without")),
        },
    };
    let Some(file) = file else {
        return Ok(if is_packed { Voxels::Packed(offset) } else { Voxels::Inside(offset) });
    };
    if file.starts_with("LIST") || file.contains('%') {
        return unsupported(format!(
            "its voxels are in several files ({file}); save it as one .nrrd file, or as NIfTI"
        ));
    }
    Ok(Voxels::Beside { file: file.to_owned(), skip })
}

/// The fields, and where the voxels begin: after the first empty line.
fn split(bytes: &[u8]) -> Parsed<(Fields, usize)> {
    let mut fields = BTreeMap::new();
    let mut start = 0;
    while let Some(length) = bytes[start..].iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&bytes[start..start + length]);
        let line = line.trim_end_matches('\r');
        let is_first = start == 0;
        start += length + 1;
        // A header whose voxels are elsewhere may end with a list of files.
        if line.is_empty() || fields.get("data file").is_some_and(|file: &String| file.starts_with("LIST")) {
            return Ok((Fields(fields), start));
        }
        // A comment, the magic, or a key of the user's own (`key:=value`).
        if is_first
            || line.starts_with('#')
            || line.split_once(":=").is_some_and(|(key, _)| !key.contains(": "))
        {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            return malformed(format!(
                "the line '{}' of its header is not a field",
                line.chars().take(60).collect::<String>()
            ));
        };
        fields.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    // A header alone needs no empty line at its end, nor an end of its last line.
    let last = String::from_utf8_lossy(&bytes[start..]);
    if let Some((name, value)) = last.split_once(':').filter(|(name, _)| is_data_file(name)) {
        fields.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    if fields.keys().any(|name| is_data_file(name)) {
        return Ok((Fields(fields), start));
    }
    let read = bytes.len();
    malformed(format!("truncated, or not an NRRD file: its header does not end within {read} bytes"))
}

fn is_data_file(name: &str) -> bool {
    ["data file", "datafile"].contains(&name.trim().to_ascii_lowercase().as_str())
}

fn datatype_of(name: &str) -> Parsed<Datatype> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "signed char" | "int8" | "int8_t" => Datatype::I8,
        "uchar" | "unsigned char" | "uint8" | "uint8_t" => Datatype::U8,
        "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => Datatype::I16,
        "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => Datatype::U16,
        "int" | "signed int" | "int32" | "int32_t" => Datatype::I32,
        "uint" | "unsigned int" | "uint32" | "uint32_t" => Datatype::U32,
        "longlong"
        | "long long"
        | "long long int"
        | "signed long long"
        | "signed long long int"
        | "int64"
        | "int64_t" => Datatype::I64,
        "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => {
            Datatype::U64
        }
        "float" => Datatype::F32,
        "double" => Datatype::F64,
        other => return unsupported(format!("voxels of type '{other}' are not read")),
    })
}

/// The signs that take the axes of the file's space to RAS: they run to the left or right, and to the back or front;
/// all run up.
fn signs(fields: &Fields) -> Parsed<[f64; 3]> {
    Ok(match fields.get("space").map(str::to_ascii_lowercase).as_deref() {
        Some("left-posterior-superior" | "lps") => [-1.0, -1.0, 1.0],
        Some("right-anterior-superior" | "ras") => [1.0, 1.0, 1.0],
        Some("left-anterior-superior" | "las") => [-1.0, 1.0, 1.0],
        Some(other) => return unsupported(format!("space '{other}' does not say where left and right are")),
        None => {
            return unsupported("it does not say where left and right are: its header has no field 'space'");
        }
    })
}

/// The shape and the affine: three axes in space, any others of one sample.
fn place(fields: &Fields) -> Parsed<([usize; 3], Affine)> {
    let signs = signs(fields)?;
    if let Some(units) = fields.get("space units")
        && units.split_whitespace().any(|unit| unit.trim_matches('"') != "mm")
    {
        return unsupported(format!("space units {units}; millimetres are needed"));
    }
    let sizes = fields.need("sizes")?;
    let Ok(lengths) =
        sizes.split_whitespace().map(str::parse).collect::<std::result::Result<Vec<usize>, _>>()
    else {
        return malformed(format!("sizes '{sizes}' are not whole numbers"));
    };
    let directions = vectors(fields.need("space directions")?)?;
    let dimension = fields.need("dimension")?;
    if dimension != lengths.len().to_string() || directions.len() != lengths.len() || lengths.contains(&0) {
        return malformed(format!(
            "dimension {dimension}, sizes '{sizes}', {} space directions",
            directions.len()
        ));
    }
    let axes: Vec<(usize, [f64; 3])> = lengths
        .iter()
        .zip(&directions)
        .filter_map(|(length, direction)| Some((*length, (*direction)?)))
        .collect();
    let others = lengths.iter().zip(&directions).filter(|(_, direction)| direction.is_none());
    let others = others.fold(1_usize, |product, (length, _)| product.saturating_mul(*length));
    let Ok(axes) = <[(usize, [f64; 3]); 3]>::try_from(axes) else {
        return unsupported(format!(
            "{} axes in space; a volume has three",
            directions.iter().flatten().count()
        ));
    };
    if others != 1 {
        return unsupported(format!(
            "{others} values per voxel; one is needed: extract it to a file of its own"
        ));
    }
    let shape = axes.map(|(length, _)| length);
    let voxels = shape.iter().try_fold(1_usize, |product, length| product.checked_mul(*length));
    if voxels.is_none_or(|voxels| voxels > MAX_VOXELS) {
        return unsupported(format!("{shape:?} voxels; more than {MAX_VOXELS} are not read"));
    }
    let origin = match fields.get("space origin").map(vectors).transpose()?.as_deref() {
        Some([Some(origin)]) => *origin,
        Some(_) => return malformed("its space origin is not a point"),
        None => [0.0; 3],
    };
    let rows = std::array::from_fn(|row| {
        [axes[0].1[row], axes[1].1[row], axes[2].1[row], origin[row]].map(|value| signs[row] * value)
    });
    let affine = Affine::from_rows(rows);
    if !affine.is_usable() {
        return malformed("its space directions span no space");
    }
    Ok((shape, affine))
}

/// `(1,0,0) none (0,0,1)`.
fn vectors(text: &str) -> Parsed<Vec<Option<[f64; 3]>>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("none") {
            found.push(None);
            rest = after.trim_start();
            continue;
        }
        let parts = rest.strip_prefix('(').and_then(|inside| inside.split_once(')'));
        let numbers = parts.map(|(inside, _)| {
            inside.split(',').map(|number| number.trim().parse().ok()).collect::<Option<Vec<f64>>>()
        });
        match (parts, numbers.flatten().and_then(|numbers| <[f64; 3]>::try_from(numbers).ok())) {
            (Some((_, after)), Some(vector)) => {
                found.push(Some(vector));
                rest = after.trim_start();
            }
            _ => {
                return malformed(format!(
                    "'{}' is not a list of vectors",
                    text.chars().take(60).collect::<String>()
                ));
            }
        }
    }
    Ok(found)
}
