//! Lines and points, as SVG.

use brainmvp_volume::picture::PALETTE;
use plotters::prelude::*;

use super::document::Picture;

const SIZE: (u32, u32) = (760, 300);
/// Points that a line is drawn with, at most.
const MOST_POINTS: usize = 800;

/// A diagram.
pub(super) struct Chart<'a> {
    pub(super) across: &'a str,
    pub(super) up: &'a str,
    pub(super) lines: Vec<Line>,
    /// Points alone, without a line.
    pub(super) points: bool,
    /// Whether the diagonal is drawn: where both axes agree.
    pub(super) diagonal: bool,
}

/// A line of a diagram.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

impl Line {
    /// The running mean over a fortieth of the points, and fewer of them: steps of training vary more than they tell.
    pub(super) fn smoothed(self) -> Self {
        let count = self.points.len();
        let width = (count / 40).max(1);
        let every = count.div_ceil(MOST_POINTS).max(1);
        let mut sums = vec![0.0];
        for (_, y) in &self.points {
            sums.push(sums.last().copied().unwrap_or(0.0) + y);
        }
        let mean = |end: usize| {
            let start = end.saturating_sub(width);
            (sums[end] - sums[start]) / (end - start) as f64
        };
        let points = (1..=count).rev().step_by(every).map(|end| (self.points[end - 1].0, mean(end)));
        let mut points: Vec<_> = points.collect();
        points.reverse();
        Self { points, ..self }
    }
}

impl Chart<'_> {
    /// The diagram; `None` if there is no finite point.
    pub(super) fn svg(&self) -> Option<Picture> {
        let finite = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
        let all = || self.lines.iter().flat_map(|line| &line.points).filter(finite);
        let bounds = |value: fn(&(f64, f64)) -> f64| {
            let low = all().map(value).fold(f64::INFINITY, f64::min);
            let high = all().map(value).fold(f64::NEG_INFINITY, f64::max);
            let margin = ((high - low) * 0.05).max(high.abs() * 1e-3).max(1e-6);
            (low.is_finite() && high.is_finite()).then_some((low - margin, high + margin))
        };
        let ((left, right), (low, high)) = (bounds(|point| point.0)?, bounds(|point| point.1)?);
        let mut text = String::new();
        self.draw(&mut text, left..right, low..high).ok()?;
        Some(Picture::Svg(text))
    }

    fn draw(
        &self,
        text: &mut String,
        across: std::ops::Range<f64>,
        up: std::ops::Range<f64>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let legend = self.lines.len() > 1;
        let diagonal = [across.start.max(up.start), across.end.min(up.end)];
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(if legend { 190 } else { 16 })
            .x_label_area_size(38)
            .y_label_area_size(64)
            .build_cartesian_2d(across, up)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(self.across)
            .y_desc(self.up)
            .light_line_style(WHITE.mix(0.0))
            .bold_line_style(BLACK.mix(0.08));
        mesh.x_label_formatter(&|value| short(*value)).y_label_formatter(&|value| short(*value));
        mesh.label_style(("sans-serif", 13)).axis_desc_style(("sans-serif", 14)).draw()?;
        if self.diagonal && diagonal[0] < diagonal[1] {
            chart.draw_series(LineSeries::new(diagonal.map(|x| (x, x)), BLACK.mix(0.4)))?;
        }
        for (number, line) in self.lines.iter().enumerate() {
            let [red, green, blue] = PALETTE[number % PALETTE.len()];
            let colour = RGBColor(red, green, blue);
            let points = || line.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()).copied();
            if self.points {
                chart.draw_series(points().map(|point| Circle::new(point, 3, colour.mix(0.7).filled())))?;
            } else {
                chart.draw_series(LineSeries::new(points(), colour.stroke_width(2)))?;
                if points().count() < 40 {
                    chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
                }
            }
            if legend {
                let place = (SIZE.0 as i32 - 176, 18 + 19 * number as i32);
                area.draw(&Circle::new(place, 4, colour.filled()))?;
                area.draw(&Text::new(line.name.clone(), (place.0 + 12, place.1 - 6), ("sans-serif", 13)))?;
            }
        }
        area.present()?;
        Ok(())
    }
}

/// A number at an axis.
fn short(value: f64) -> String {
    let text = if value.abs() >= 10.0 { format!("{value:.0}") } else { format!("{value:.4}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooth_lines_end_where_they_end_and_keep_the_mean() {
        let points = (1..=4000).map(|step| (f64::from(step), f64::from(step % 2))).collect();
        let smooth = Line { name: String::new(), points }.smoothed();
        assert!(smooth.points.len() <= MOST_POINTS);
        assert_eq!(smooth.points.last().map(|point| point.0), Some(4000.0));
        assert!(smooth.points.iter().skip(1).all(|(step, y)| *step < 100.0 || (y - 0.5).abs() < 0.01));
    }

    #[test]
    fn numbers_at_axes_have_no_zeros_at_their_end() {
        assert_eq!([0.0, 0.25, 2.0, 10.0, 1200.0].map(short), ["0", "0.25", "2", "10", "1200"]);
    }

    #[test]
    fn nothing_finite_is_no_picture() {
        let chart = |points| Chart {
            across: "step",
            up: "loss",
            lines: vec![Line { name: "a".to_owned(), points }],
            points: false,
            diagonal: false,
        };
        assert!(chart(vec![(1.0, f64::NAN)]).svg().is_none());
        assert!(chart(Vec::new()).svg().is_none());
        assert!(matches!(chart(vec![(1.0, 2.0)]).svg(), Some(Picture::Svg(text)) if text.contains("<svg")));
    }
}
