//! The operations, one line each.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use brainmvp_bench::machine::{Machine, rounded};
use brainmvp_bench::operations::{BenchConfig, Speed, Timing, bench};
use brainmvp_bench::rows::Named;
use brainmvp_bench::work::Shape;
use brainmvp_kernels::{NoBf16, set_precision};
use serde_json::{Map, Value, json};

use super::{no_bf16, stop_if_asked};
use crate::interrupt;
use crate::ui::Ui;

/// Measures and prints them, in one precision after the other; both views of a case are in one batch.
pub(super) fn measure(
    precisions: &[Named],
    shape: &Shape,
    machine: &Machine,
    ui: &Ui,
) -> anyhow::Result<Value> {
    let mut found = Map::new();
    for (name, precision) in precisions {
        set_precision(*precision).map_err(|NoBf16| no_bf16())?;
        let operations = operations(name, shape, machine, ui)?;
        if found.is_empty() {
            found = machine.facts(name);
            found.insert("operations".to_owned(), operations.into());
        } else {
            found.insert((*name).to_owned(), json!({ "operations": operations }));
        }
    }
    Ok(found.into())
}

fn operations(precision: &str, shape: &Shape, machine: &Machine, ui: &Ui) -> anyhow::Result<Vec<Value>> {
    let Shape { size, batch, repetitions, .. } = *shape;
    ui.result(format!(
        "\noperations of UniFormer-S: {batch} x two {size}^3 views, {precision}; fastest of {repetitions}"
    ))?;
    ui.result(format!("  {:44}{:>29}{:>29}", "", "forward", "backward"))?;
    let columns = format!("{:>10}{:>10}{:>9}", "ms", "GFLOP/s", "% peak");
    ui.result(format!("  {:44}{columns}{columns}", ""))?;
    let mut operations = Vec::new();
    let mut printed = Ok(());
    let config = BenchConfig { size, batch: 2 * batch, repetitions };
    let ended = bench(&config, &mut |timing| {
        printed = ui.result(line(&timing, machine.peak));
        operations.push(entry(&timing, machine.peak));
        let stop = printed.is_err() || interrupt::stop_flag().load(Ordering::Relaxed);
        if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    printed?;
    if ended.is_break() {
        stop_if_asked()?;
    }
    Ok(operations)
}

fn line(timing: &Timing, peak: f64) -> String {
    let cells = |speed: &Speed| {
        let (ms, flops) = (speed.time.as_secs_f64() * 1e3, speed.flops());
        format!("{ms:10.2}{:10.0}{:9.0}", flops / 1e9, 100.0 * flops / peak)
    };
    format!("  {:44}{}{}", timing.name, cells(&timing.forward), cells(&timing.backward))
}

fn entry(timing: &Timing, peak: f64) -> Value {
    let speed = |speed: &Speed| {
        let (ms, flops) = (speed.time.as_secs_f64() * 1e3, speed.flops());
        json!({ "ms": rounded(ms), "gflops": rounded(flops / 1e9), "share_of_peak": rounded(flops / peak) })
    };
    json!({ "name": timing.name, "forward": speed(&timing.forward), "backward": speed(&timing.backward) })
}
