//! Archives that hold volumes, which have to be unpacked first.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use walkdir::WalkDir;

use super::file_name::stem;

/// The most bytes of a packed archive that are unpacked to see what it holds.
const LOOKED_AT_BYTES: u64 = 256 << 20;

/// The size of the blocks of a tar file.
const BLOCK: usize = 512;

/// An archive and a volume in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Archive {
    path: PathBuf,
    volume: String,
}

/// The archives at or below `path` that hold volumes, whatever they are called.
pub(super) fn with_volumes(path: &Path) -> Vec<Archive> {
    let walk = WalkDir::new(path).follow_links(true).sort_by_file_name().into_iter();
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    let files = walk
        .filter_entry(move |entry| entry.depth() == 0 || !hidden(entry.file_name()))
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path);
    // What cannot be read is no archive.
    files.filter_map(|path| Some(Archive { volume: volume_in(&path).ok()??, path })).collect()
}

/// What to tell of archives; `None` for none.
pub(super) fn message(root: &Path, archives: &[Archive]) -> Option<String> {
    let first = archives.first()?;
    let path = first.path.strip_prefix(root).ok().filter(|path| !path.as_os_str().is_empty());
    let path = path.unwrap_or(&first.path).display();
    let count = match archives.len() {
        1 => "1 archive with images is".to_owned(),
        count => format!("{count} archives with images are"),
    };
    Some(format!("{count} not opened: unpack them first, e.g. {path} with {}", first.volume))
}

/// The name of the first volume in an archive; `None` for other files.
fn volume_in(path: &Path) -> io::Result<Option<String>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if ends(&[".zip"]) {
        let archive = zip::ZipArchive::new(BufReader::new(File::open(path)?)).map_err(io::Error::other)?;
        return Ok(archive
            .file_names()
            .flatten()
            .find(|name| is_volume(name))
            .map(std::borrow::Cow::into_owned));
    }
    if ends(&[".tar"]) {
        return volume_in_tar(BufReader::new(File::open(path)?));
    }
    if ends(&[".tar.gz", ".tgz"]) {
        let unpacked = MultiGzDecoder::new(BufReader::new(File::open(path)?));
        return volume_in_tar(unpacked.take(LOOKED_AT_BYTES));
    }
    Ok(None)
}

fn is_volume(name: &str) -> bool {
    stem(Path::new(name)).is_some()
}

/// Reads the headers of a tar file (POSIX.1-1988, ustar) up to the first volume.
fn volume_in_tar(mut file: impl Read) -> io::Result<Option<String>> {
    let mut header = [0; BLOCK];
    while file.read_exact(&mut header).is_ok() {
        let text = |range: std::ops::Range<usize>| {
            let bytes = header[range].split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(bytes).trim().to_owned()
        };
        let name = text(0..100);
        if name.is_empty() {
            return Ok(None);
        }
        if is_volume(&name) {
            return Ok(Some(name));
        }
        let Ok(bytes) = u64::from_str_radix(&text(124..136), 8) else { return Ok(None) };
        let stored = bytes.div_ceil(BLOCK as u64) * BLOCK as u64;
        io::copy(&mut file.by_ref().take(stored), &mut io::sink())?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A tar file of empty and other files.
    fn tar(files: &[(&str, usize)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, length) in files {
            let mut header = [0; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..135].copy_from_slice(format!("{length:011o}").as_bytes());
            bytes.extend(header);
            bytes.resize(bytes.len() + length.div_ceil(BLOCK) * BLOCK, 7);
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    #[test]
    fn volumes_in_archives_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        let archive = tar(&[("p1/", 0), ("p1/notes.txt", 700), ("p1/t1.nii.gz", 3)]);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&archive).unwrap();
        write("a.tar", &archive);
        write("b.tar.gz", &packed.finish().unwrap());
        write("c.tar", &tar(&[("notes.txt", 3)]));
        write("d.zip", b"PK, but no archive");
        write("t1.nii.gz", &archive);
        let mut zip = zip::ZipWriter::new(File::create(folder.path().join("e.ZIP")).unwrap());
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file("p2/flair.nii.gz", stored).unwrap();
        zip.finish().unwrap();
        let found = with_volumes(folder.path());
        let names: Vec<_> = found.iter().map(|archive| archive.volume.as_str()).collect();
        assert_eq!(names, ["p1/t1.nii.gz", "p1/t1.nii.gz", "p2/flair.nii.gz"]);
        let told = message(folder.path(), &found).unwrap();
        assert!(told.contains("3 archives") && told.contains("a.tar with p1/t1.nii.gz"), "{told}");
        let told = message(&found[2].path, &with_volumes(&found[2].path)).unwrap();
        assert!(told.contains("e.ZIP with p2/flair.nii.gz"), "{told}");
        assert_eq!(message(folder.path(), &[]), None);
    }
}
