//! Pictures of a case: each image in three planes, original and prepared.

use brainmvp_registration::Transform;
use brainmvp_volume::picture::{Colour, Picture, Plane, Slice};
use brainmvp_volume::{Modality, Volume};

pub(crate) const BRAIN_COLOUR: Colour = [40, 230, 100];
pub(crate) const ATLAS_COLOUR: Colour = [255, 80, 220];
pub(crate) const LEFT_OUT_COLOUR: Colour = [255, 120, 90];
const DIM: Colour = [150; 3];
const WHITE: Colour = [255; 3];

/// The outlines on every image: volumes in the space of the prepared case, above 0 inside.
pub(crate) type Outlines<'a> = Vec<(&'a Volume<u8>, Colour)>;

/// An image in three planes.
pub(crate) struct View<'a> {
    pub(crate) image: &'a Volume,
    /// From the space of the outlines to that of the image.
    pub(crate) transform: Transform,
    /// The point, in the space of the outlines, that the planes go through.
    pub(crate) centre_mm: [f64; 3],
    /// The values shown as black and white.
    pub(crate) window: (f32, f32),
    /// The value shown beyond the border of the image.
    pub(crate) margin_mm: f64,
}

impl View<'_> {
    /// Axial, coronal and sagittal planes side by side.
    pub(crate) fn planes(&self, outlines: &Outlines<'_>) -> Picture {
        let planes = Plane::ALL.map(|plane| self.plane(plane, outlines));
        Picture::table(&[planes.iter().collect()])
    }

    /// One plane along the axes of the image that are nearest to those of the body.
    pub(crate) fn plane(&self, plane: Plane, outlines: &Outlines<'_>) -> Picture {
        let centre_mm = self.transform.apply(self.centre_mm);
        let slice = Slice::through(self.image.grid(), plane, centre_mm, self.margin_mm);
        let Some(slice) = slice else { return Picture::black(1, 1) };
        let mut picture = slice.picture(self.image, self.window);
        for (volume, colour) in outlines {
            let Some(grid) = self.transform.moved(&slice.grid) else { continue };
            Slice { grid }.outline(&mut picture, volume, *colour);
        }
        picture
    }
}

/// The pictures of an image of a case, as far as they can be drawn.
pub(crate) struct DrawnImage {
    pub(crate) modality: Modality,
    pub(crate) before: Option<(Picture, String)>,
    pub(crate) after: Option<(Picture, String)>,
}

/// The whole picture of a case: one row per image, the original at the left and the prepared one at the right.
pub(crate) fn case_picture(title: &str, images: &[DrawnImage], legend: &[(&str, Colour)]) -> Picture {
    /// Pixels around the page and between its two halves.
    const SPACE: usize = 12;
    let heading = |text: &str, colour: Colour| Picture::coloured_text(text, colour).scaled(2);
    let [width, height] = [Picture::black(SPACE, 1), Picture::black(1, SPACE)];
    let names: Vec<Picture> = images.iter().map(|image| heading(image.modality.name(), WHITE)).collect();
    let cells: Vec<[Picture; 2]> =
        images.iter().map(|image| [&image.before, &image.after].map(|drawn| cell(drawn.as_ref()))).collect();
    let halves = ["before", "after"].map(|text| heading(text, WHITE));
    let mut rows = vec![vec![&width, &width, &width, &halves[0], &width, &halves[1]]];
    rows.extend(
        names
            .iter()
            .zip(&cells)
            .map(|(name, [before, after])| vec![&width, name, &width, before, &width, after]),
    );
    let legend: Vec<Picture> =
        legend.iter().map(|(text, colour)| heading(&format!("{text}   "), *colour)).collect();
    let mut first_line = vec![&width];
    let title = heading(&format!("{title}   "), WHITE);
    first_line.push(&title);
    first_line.extend(&legend);
    let [first_line, table] = [Picture::table(&[first_line]), Picture::table(&rows)];
    Picture::table(&[vec![&height], vec![&first_line], vec![&height], vec![&table], vec![&height]])
}

fn cell(drawn: Option<&(Picture, String)>) -> Picture {
    let Some((picture, text)) = drawn else { return Picture::coloured_text("not there", DIM) };
    let (text, space) = (Picture::coloured_text(text, DIM), Picture::black(1, 6));
    Picture::table(&[vec![picture], vec![&text], vec![&space]])
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::{Affine, Grid};

    use super::*;

    const CENTRE: [f64; 3] = [10.0, 20.0, 30.0];

    /// An image of thick slices in any orientation, bright in a ball around [`CENTRE`].
    fn ball(rows: [[f64; 4]; 3], shape: [usize; 3]) -> Volume {
        let grid = Grid::new(shape, Affine::from_rows(rows));
        let value = |place: usize| {
            let at = grid.affine.to_world(grid.voxel(place).map(|i| i as f64));
            let mm2: f64 = (0..3).map(|axis| (at[axis] - CENTRE[axis]).powi(2)).sum();
            if mm2 < 900.0 { 1.0 } else { 0.0 }
        };
        Volume::new(grid, (0..grid.len()).map(value).collect())
    }

    fn view(image: &Volume, transform: Transform) -> View<'_> {
        View { image, transform, centre_mm: CENTRE, window: (0.0, 1.0), margin_mm: 0.0 }
    }

    #[test]
    fn thick_slices_have_their_shape_and_the_outline_fits_in_any_orientation() {
        let fine = ball([[1.0, 0.0, 0.0, -40.0], [0.0, 1.0, 0.0, -30.0], [0.0, 0.0, 1.0, -20.0]], [100; 3]);
        let mask = fine.map(|v| u8::from(v > 0.5));
        // LPS with slices of 5 mm along the second axis.
        let thick =
            ball([[-1.0, 0.0, 0.0, 60.0], [0.0, 0.0, -2.0, 70.0], [0.0, 5.0, 0.0, -20.0]], [100, 20, 50]);
        for (image, error) in [(&fine, 1), (&thick, 400)] {
            for plane in Plane::ALL {
                let plain = view(image, Transform::identity()).plane(plane, &Vec::new());
                assert_eq!((plain.width(), plain.height()), (100, 100), "a pixel is a millimetre");
                let bright = plain.pixels().iter().filter(|pixel| pixel[0] > 127).count();
                assert!(bright.abs_diff(2827) < 30 + error, "{plane:?}: {bright} pixels of the great circle");
                let drawn = view(image, Transform::identity()).plane(plane, &vec![(&mask, BRAIN_COLOUR)]);
                let changed = drawn.pixels().iter().zip(plain.pixels()).filter(|(a, b)| a != b);
                let at_edge = changed.clone().filter(|(_, grey)| grey[0] < 127).count();
                assert!(changed.count() > 150, "{plane:?}: an outline");
                assert!(
                    at_edge < 20 + error / 4,
                    "{plane:?}: {at_edge} pixels of the outline lie outside the ball"
                );
            }
        }
    }

    #[test]
    fn an_outline_goes_where_the_image_was_moved() {
        let image = ball([[1.0, 0.0, 0.0, -40.0], [0.0, 1.0, 0.0, -30.0], [0.0, 0.0, 1.0, -20.0]], [100; 3]);
        // The prepared case lies 15 mm to the left of the file.
        let transform =
            Transform::from_rows([[1.0, 0.0, 0.0, 15.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
        let moved = transform.move_volume(image.map(|v| u8::from(v > 0.5))).unwrap();
        let view = View { centre_mm: [-5.0, 20.0, 30.0], ..view(&image, transform) };
        let drawn = view.plane(Plane::Axial, &vec![(&moved, BRAIN_COLOUR)]);
        let outside = drawn.pixels().iter().filter(|pixel| **pixel == BRAIN_COLOUR).count();
        let whole = drawn.pixels().iter().filter(|pixel| pixel[0] == 255).count();
        assert!(outside > 150 && (2500..2827).contains(&whole), "{outside} {whole}");
    }

    #[test]
    fn extents_that_no_head_has_are_drawn_within_bounds() {
        for spacing in [1e-4, 1e5] {
            let grid = Grid::new([3, 40, 7], Affine::from_spacing([spacing; 3], [0.0; 3]));
            let picture = view(&Volume::filled(grid, 1.0), Transform::identity()).planes(&Vec::new());
            assert!(picture.width() < 1000 && picture.height() < 400);
        }
    }
}
