//! Pictures of slices, as PNG: grey, with outlines in colour.
//!
//! Slices are shown as radiologists look at them: anterior or superior at the top, and in axial and coronal
//! slices the patient's right at the viewer's left; a sagittal slice faces the viewer's left.

mod font;
mod slice;

use std::io::Write;
use std::path::Path;

use font::glyph;
pub use slice::{Slice, fullest_axial_slice};

use crate::{Result, write_atomically};

/// Black pixels between neighbours.
const GAP: usize = 2;
/// Pixels from one letter to the next.
const ADVANCE: usize = 6;

/// The planes of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// Across the body: x and y.
    Axial,
    /// Parallel to the face: x and z.
    Coronal,
    /// From front to back: y and z.
    Sagittal,
}

impl Plane {
    /// All planes in the usual order.
    pub const ALL: [Self; 3] = [Self::Axial, Self::Coronal, Self::Sagittal];

    /// The volume axes that run along the width, along the height and through the slice.
    pub fn axes(self) -> [usize; 3] {
        match self {
            Self::Axial => [0, 1, 2],
            Self::Coronal => [0, 2, 1],
            Self::Sagittal => [1, 2, 0],
        }
    }
}

/// Red, green and blue, 0 to 255.
pub type Colour = [u8; 3];

/// The outline of a label that a person has drawn.
pub const LABEL_COLOUR: Colour = [255, 190, 30];
/// The outline of what a network predicts.
pub const PREDICTION_COLOUR: Colour = [70, 170, 255];

/// Colours of lines and points that people with any colour vision tell apart (Okabe and Ito, 2008).
pub const PALETTE: [Colour; 7] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [230, 159, 0],
    [86, 180, 233],
    [90, 90, 90],
];

const BLACK: Colour = [0; 3];
const WHITE: Colour = [255; 3];

/// A picture of 8-bit pixels, row by row from the top; never smaller than one pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<Colour>,
}

impl Picture {
    /// A black picture; a width or height of 0 becomes 1.
    pub fn black(width: usize, height: usize) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Self { width, height, pixels: vec![BLACK; width * height] }
    }

    /// The slice `index` of a volume in RAS+.
    ///
    /// `volume` holds `shape` = `[x, y, z]` voxels, x fastest. The lower bound of `window` is shown black, the
    /// upper one white. Voxels that are not finite are black, and so is a slice beyond the last.
    ///
    /// # Panics
    /// If there are not as many voxels as `shape` asks for.
    pub fn slice(volume: &[f32], shape: [usize; 3], plane: Plane, index: usize, window: (f32, f32)) -> Self {
        assert_eq!(volume.len(), shape.iter().product::<usize>(), "voxels do not fill the shape {shape:?}");
        let [across, up, through] = plane.axes();
        let mut picture = Self::black(shape[across], shape[up]);
        if index >= shape[through] {
            return picture;
        }
        let strides = [1, shape[0], shape[0] * shape[1]];
        // Pixels run from the top left, which is the far end of both axes.
        for (row, b) in (0..shape[up]).rev().enumerate() {
            for (column, a) in (0..shape[across]).rev().enumerate() {
                let offset = a * strides[across] + b * strides[up] + index * strides[through];
                picture.pixels[row * picture.width + column] = [shade(volume[offset], window); 3];
            }
        }
        picture
    }

    /// The middle axial, coronal and sagittal slices side by side, as in [`Picture::slice`].
    pub fn three_planes(volume: &[f32], shape: [usize; 3], window: (f32, f32)) -> Self {
        let slices = Plane::ALL.map(|plane| {
            let [.., through] = plane.axes();
            Self::slice(volume, shape, plane, shape[through] / 2, window)
        });
        Self::table(&[slices.iter().collect()])
    }

    /// Rows of pictures, each row with its label at the left, on black.
    ///
    /// Columns are as wide as their widest picture. Labels are in capitals and digits with a few signs; any
    /// other character shows as a box.
    pub fn montage(rows: &[(&str, &[Self])]) -> Self {
        let labels: Vec<Self> = rows.iter().map(|(label, _)| Self::text(label)).collect();
        let cells = rows
            .iter()
            .zip(&labels)
            .map(|((_, pictures), label)| std::iter::once(label).chain(*pictures).collect());
        Self::table(&cells.collect::<Vec<_>>())
    }

    /// The picture enlarged, each pixel to a square of `factor` x `factor`; 0 counts as 1.
    pub fn scaled(&self, factor: usize) -> Self {
        let factor = factor.max(1);
        let mut scaled = Self::black(self.width * factor, self.height * factor);
        for (index, pixel) in scaled.pixels.iter_mut().enumerate() {
            let (row, column) = (index / scaled.width / factor, index % scaled.width / factor);
            *pixel = self.pixels[row * self.width + column];
        }
        scaled
    }

    /// The picture at most `side` pixels wide and high: every pixel is the mean of the square that it stands for.
    pub fn shrunk(&self, side: usize) -> Self {
        let factor = self.width.max(self.height).div_ceil(side.max(1));
        let mut small = Self::black(self.width / factor, self.height / factor);
        for (index, pixel) in small.pixels.iter_mut().enumerate() {
            let (top, left) = (index / small.width * factor, index % small.width * factor);
            let square = (0..factor * factor).map(|at| (top + at / factor, left + at % factor));
            let inside: Vec<Colour> = square
                .filter(|(row, column)| *row < self.height && *column < self.width)
                .map(|(row, column)| self.pixels[row * self.width + column])
                .collect();
            let sum =
                |channel: usize| inside.iter().map(|colour| usize::from(colour[channel])).sum::<usize>();
            *pixel = std::array::from_fn(|channel| (sum(channel) / inside.len().max(1)) as u8);
        }
        small
    }

    /// Draws the outline of `inside`, which has a value for each pixel: the pixels inside with a neighbour outside. The
    /// border of the picture does not count as outside.
    ///
    /// # Panics
    /// If there are not as many values as pixels.
    pub fn outline(&mut self, inside: &[bool], colour: Colour) {
        let (width, height) = (self.width, self.height);
        assert_eq!(inside.len(), width * height, "an outline needs a value for every pixel");
        let at = |place: usize| inside[place];
        for place in (0..width * height).filter(|place| at(*place)) {
            let (row, column) = (place / width, place % width);
            let edge = (column > 0 && !at(place - 1))
                || (column + 1 < width && !at(place + 1))
                || (row > 0 && !at(place - width))
                || (row + 1 < height && !at(place + width));
            if edge {
                self.pixels[place] = colour;
            }
        }
    }

    /// Pixels per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All pixels, row by row from the top.
    pub fn pixels(&self) -> &[Colour] {
        &self.pixels
    }

    /// Whether all pixels are grey.
    pub fn is_grey(&self) -> bool {
        self.pixels.iter().all(|[red, green, blue]| red == green && green == blue)
    }

    /// The picture as a PNG file, with one byte per pixel if it is all grey.
    #[expect(clippy::expect_used, reason = "the picture is never empty and memory takes what is written")]
    pub fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_depth(png::BitDepth::Eight);
        let grey: Vec<u8>;
        let data = if self.is_grey() {
            encoder.set_color(png::ColorType::Grayscale);
            grey = self.pixels.iter().map(|pixel| pixel[0]).collect();
            &grey
        } else {
            encoder.set_color(png::ColorType::Rgb);
            self.pixels.as_flattened()
        };
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(data))
            .expect("a picture with pixels can be encoded");
        bytes
    }

    /// Writes the picture as a PNG file, atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        write_atomically(path, |file| file.write_all(&self.png()))
    }

    /// Cells in rows and columns, each at the left of its column and in the middle of its row's height.
    pub fn table(rows: &[Vec<&Self>]) -> Self {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width).max())
            .map(Option::unwrap_or_default)
            .collect();
        let heights: Vec<usize> =
            rows.iter().map(|row| row.iter().map(|cell| cell.height).max().unwrap_or(0)).collect();
        let extent = |sizes: &[usize]| sizes.iter().sum::<usize>() + GAP * sizes.len().saturating_sub(1);
        let mut table = Self::black(extent(&widths), extent(&heights));
        let mut top = 0;
        for (row, height) in rows.iter().zip(&heights) {
            let mut left = 0;
            for (cell, width) in row.iter().zip(&widths) {
                table.draw(cell, left, top + (height - cell.height) / 2);
                left += width + GAP;
            }
            top += height + GAP;
        }
        table
    }

    /// Copies `cell` to where its left column and top row are given.
    fn draw(&mut self, cell: &Self, left: usize, top: usize) {
        for (row, pixels) in cell.pixels.chunks_exact(cell.width).enumerate() {
            let start = (top + row) * self.width + left;
            self.pixels[start..start + cell.width].copy_from_slice(pixels);
        }
    }

    /// A line of text, white on black, 7 pixels high.
    pub fn text(line: &str) -> Self {
        Self::coloured_text(line, WHITE)
    }

    /// A line of text in a colour, on black, 7 pixels high.
    pub fn coloured_text(line: &str, colour: Colour) -> Self {
        let mut text = Self::black(line.chars().count() * ADVANCE, 7);
        for (position, letter) in line.chars().enumerate() {
            for (row, bits) in glyph(letter).into_iter().enumerate() {
                for column in (0..5).filter(|column| bits >> (4 - column) & 1 == 1) {
                    text.pixels[row * text.width + position * ADVANCE + column] = colour;
                }
            }
        }
        text
    }
}

/// The grey level of a value in a window. A window without width, or with a bound of NaN, separates black from white.
fn shade(value: f32, (low, high): (f32, f32)) -> u8 {
    if !value.is_finite() {
        0
    } else if high > low {
        // `as` saturates, and takes NaN to 0.
        ((value - low) / (high - low) * 255.0).round() as u8
    } else {
        255 * u8::from(value > low)
    }
}

#[cfg(test)]
mod tests {
    use super::font::FONT;
    use super::*;

    /// The grey level of every pixel of a grey picture.
    fn grey_of(picture: &Picture) -> Vec<u8> {
        assert!(picture.is_grey());
        picture.pixels.iter().map(|pixel| pixel[0]).collect()
    }

    /// A volume whose voxel at [x, y, z] is x + 10 y + 100 z.
    fn coordinates([nx, ny, nz]: [usize; 3]) -> Vec<f32> {
        let voxel = |index| index % nx + index / nx % ny * 10 + index / nx / ny * 100;
        (0..nx * ny * nz).map(|index| voxel(index) as f32).collect()
    }

    #[test]
    fn slices_are_radiological() {
        let shape = [2, 3, 2];
        let slice = |plane, index| {
            let picture = Picture::slice(&coordinates(shape), shape, plane, index, (0.0, 255.0));
            (picture.width, picture.height, grey_of(&picture))
        };
        // Anterior (high y) on top, the patient's right (high x) at the left.
        assert_eq!(slice(Plane::Axial, 1), (2, 3, vec![121, 120, 111, 110, 101, 100]));
        // Superior (high z) on top.
        assert_eq!(slice(Plane::Coronal, 2), (2, 2, vec![121, 120, 21, 20]));
        // Anterior at the left.
        assert_eq!(slice(Plane::Sagittal, 0), (3, 2, vec![120, 110, 100, 20, 10, 0]));
    }

    #[test]
    fn windows_scale_and_clamp() {
        let grey = |value, window| Picture::slice(&[value], [1; 3], Plane::Axial, 0, window).pixels[0][0];
        assert_eq!([-1.0, 0.0, 0.5, 1.0, 9.0].map(|value| grey(value, (0.0, 1.0))), [0, 0, 128, 255, 255]);
        assert_eq!([1.0, 2.0, 3.0].map(|value| grey(value, (2.0, 2.0))), [0, 0, 255]);
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(odd.map(|value| grey(value, (0.0, 1.0))), [0; 3]);
        for low in odd {
            for high in odd {
                grey(1.0, (low, high));
            }
        }
        assert_eq!(grey(1.0, (f32::MIN, f32::MAX)), 0, "a range beyond single precision is black");
    }

    #[test]
    fn empty_volumes_and_missing_slices_are_black() {
        let window = (-1.0, 1.0);
        for shape in [[0; 3], [0, 4, 4], [4, 0, 4], [4, 4, 0]] {
            let picture = Picture::three_planes(&[], shape, window);
            assert!(picture.pixels.iter().all(|pixel| *pixel == BLACK));
            assert!(!picture.png().is_empty());
        }
        assert_eq!(Picture::slice(&[1.0; 8], [2; 3], Plane::Coronal, 2, window), Picture::black(2, 2));
        assert_eq!(Picture::montage(&[]), Picture::black(1, 1));
        assert_eq!(Picture::montage(&[("", &[])]).height, 7);
    }

    #[test]
    fn three_planes_stand_side_by_side() {
        let shape = [4, 6, 3];
        let picture = Picture::three_planes(&[1.0; 72], shape, (0.0, 1.0));
        assert_eq!((picture.width, picture.height), (4 + 2 + 4 + 2 + 6, 6));
        let white = |row: usize| -> Vec<usize> {
            (0..picture.width)
                .filter(|column| picture.pixels[row * picture.width + column] == WHITE)
                .collect()
        };
        assert_eq!(white(0), [0, 1, 2, 3], "only the axial slice is six rows high");
        assert_eq!(white(2), [0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17]);
    }

    #[test]
    fn a_montage_keeps_every_pixel_of_its_pictures() {
        let grey = |width, height, value| Picture { width, height, pixels: vec![[value; 3]; width * height] };
        let (first, second) = ([grey(9, 8, 10), grey(3, 3, 20)], [grey(5, 20, 30)]);
        let montage = Picture::montage(&[("T1", &first), ("flair", &second)]);
        assert_eq!((montage.width, montage.height), (5 * ADVANCE + GAP + 9 + GAP + 3, 8 + GAP + 20));
        let total = |value: u8| -> usize {
            grey_of(&montage).into_iter().filter(|grey| *grey == value).map(usize::from).sum()
        };
        assert_eq!([10, 20, 30].map(total), [10 * 72, 20 * 9, 30 * 100]);
        assert!(montage.pixels.contains(&WHITE), "the labels");
    }

    #[test]
    fn letters_differ_and_case_does_not_matter() {
        assert!(FONT.iter().all(|(_, rows)| rows.iter().all(|bits| *bits < 32)));
        for (index, (letter, rows)) in FONT.iter().enumerate() {
            assert!(FONT[..index].iter().all(|(other, drawn)| other != letter && drawn != rows), "{letter}");
        }
        assert_eq!(Picture::text("flair"), Picture::text("FLAIR"));
        assert_eq!(glyph('é')[0], 31);
    }

    #[test]
    fn scaling_repeats_pixels() {
        let picture = Picture { width: 2, height: 1, pixels: vec![[7; 3], [9; 3]] };
        let scaled = picture.scaled(2);
        assert_eq!((scaled.width, scaled.height, grey_of(&scaled)), (4, 2, vec![7, 7, 9, 9, 7, 7, 9, 9]));
        assert_eq!(picture.scaled(0), picture);
        assert_eq!(scaled.shrunk(2), picture, "and shrinking takes their mean");
        assert_eq!(grey_of(&picture.shrunk(1)), [8]);
    }

    #[test]
    fn png_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let shape = [7, 5, 3];
        let picture = Picture::three_planes(&coordinates(shape), shape, (0.0, 300.0));
        picture.write_png(&path).unwrap();
        let file = std::io::Cursor::new(std::fs::read(&path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut grey = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut grey).unwrap();
        assert_eq!((info.width as usize, info.height as usize), (picture.width, picture.height));
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Grayscale, png::BitDepth::Eight));
        assert_eq!(grey, grey_of(&picture));

        let coloured = Picture::coloured_text("a", [200, 0, 9]);
        let mut reader = png::Decoder::new(std::io::Cursor::new(coloured.png())).read_info().unwrap();
        let mut colours = vec![0; reader.output_buffer_size().unwrap()];
        assert_eq!(reader.next_frame(&mut colours).unwrap().color_type, png::ColorType::Rgb);
        assert_eq!(colours, coloured.pixels.as_flattened());
    }

    #[test]
    fn an_outline_is_one_pixel_wide_and_within_the_mask() {
        let mut picture = Picture::black(6, 5);
        // A rectangle of 4 x 3 pixels that ends at the right border.
        let inside: Vec<bool> =
            (0..30).map(|place| (2..6).contains(&(place % 6)) && (1..4).contains(&(place / 6))).collect();
        picture.outline(&inside, [0, 255, 0]);
        let drawn: Vec<usize> = (0..30).filter(|place| picture.pixels[*place] != BLACK).collect();
        assert_eq!(drawn, [8, 9, 10, 11, 14, 20, 21, 22, 23], "open where the picture ends");
        let before = picture.clone();
        picture.outline(&[false; 30], [255; 3]);
        assert_eq!(picture, before);
    }
}
