//! Curves over the share of labels, with bands, as SVG.

use std::path::Path;

use brainmvp_metrics::Score;
use brainmvp_volume::picture::PALETTE;
use plotters::prelude::*;

use super::layouts::{main_of, percent, titled};
use crate::config::StudyConfig;
use crate::plan::Plan;
use crate::summary::Block;
use crate::{Error, Result};

/// A point of a curve: share of labels, mean, and the ends of its interval.
type Point = (f64, f64, [f64; 2]);

/// Draws the main measure of a task over the shares of labels.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn draw(
    path: &Path,
    config: &StudyConfig,
    plan: &Plan,
    task: &str,
    blocks: &[&Block],
) -> Result<()> {
    let curves: Vec<(usize, Vec<Point>)> = (0..plan.arms.len())
        .map(|arm| (arm, points(blocks, arm)))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let all = || curves.iter().flat_map(|(_, points)| points);
    let low = all().map(|(_, _, [low, _])| *low).fold(f64::INFINITY, f64::min);
    let high = all().map(|(_, _, [_, high])| *high).fold(f64::NEG_INFINITY, f64::max);
    let Some(measure) = blocks.first().and_then(|block| main_of(block)) else { return Ok(()) };
    if !(low.is_finite() && high.is_finite()) {
        return Ok(());
    }
    let margin = ((high - low) * 0.05).max(1e-6);
    let range = (low - margin)..(high + margin);
    let fail = |e: &dyn std::fmt::Display| Error::Figure { path: path.to_owned(), reason: e.to_string() };
    let mut text = String::new();
    {
        let rows = curves.len() as u32;
        let area = SVGBackend::with_string(&mut text, (860, 420.max(80 + 22 * rows))).into_drawing_area();
        area.fill(&WHITE).map_err(|e| fail(&e))?;
        let title = titled(config, task);
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .margin_right(300)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..1.0, range)
            .map_err(|e| fail(&e))?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("share of the labels")
            .y_desc(&measure.heading)
            .x_labels(6)
            .light_line_style(WHITE.mix(0.0));
        mesh.x_label_formatter(&|share| percent(*share)).draw().map_err(|e| fail(&e))?;
        for (number, (arm, points)) in curves.iter().enumerate() {
            let [red, green, blue] = PALETTE[number % PALETTE.len()];
            let colour = RGBColor(red, green, blue);
            let upper = points.iter().map(|(x, _, [_, high])| (*x, *high));
            let lower = points.iter().rev().map(|(x, _, [low, _])| (*x, *low));
            let band: Vec<(f64, f64)> = upper.chain(lower).collect();
            chart.draw_series([Polygon::new(band, colour.mix(0.12).filled())]).map_err(|e| fail(&e))?;
            let line = points.iter().map(|(x, mean, _)| (*x, *mean));
            chart.draw_series(LineSeries::new(line.clone(), colour.stroke_width(2))).map_err(|e| fail(&e))?;
            // The second round of colours has hollow points.
            let hollow = number >= PALETTE.len();
            let style = if hollow { colour.stroke_width(2) } else { colour.filled() };
            chart.draw_series(line.map(|point| Circle::new(point, 4, style))).map_err(|e| fail(&e))?;
            let place = (570, 60 + 22 * number as i32);
            area.draw(&Circle::new(place, 5, style)).map_err(|e| fail(&e))?;
            let arm = &plan.arms[*arm];
            let label = format!("{}, {}", arm.title, arm.network_title());
            area.draw(&Text::new(label, (place.0 + 14, place.1 - 6), ("sans-serif", 13)))
                .map_err(|e| fail(&e))?;
        }
        area.present().map_err(|e| fail(&e))?;
    }
    crate::folder::write_text(path, &text)
}

fn points(blocks: &[&Block], arm: usize) -> Vec<Point> {
    let point = |block: &&Block| {
        let number = block.measures.iter().position(|measure| measure.is_main)?;
        let per = block.measures[number].per_shown;
        let summary = block.arms.iter().find(|found| found.arm == arm)?.values.get(number)?;
        let shown = |score: Score| score.value().map(|value| value / per);
        let (mean, low, high) = (shown(summary.mean)?, shown(summary.low)?, shown(summary.high)?);
        (mean.is_finite() && low.is_finite() && high.is_finite()).then_some((
            block.fraction,
            mean,
            [low, high],
        ))
    };
    let mut points: Vec<Point> = blocks.iter().filter_map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}
