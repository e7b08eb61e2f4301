//! The results of a study so far, as files.

mod curves;
mod layouts;
mod pictures;
mod table;

use serde_json::json;

use crate::Result;
use crate::folder::{State, write, write_text};
use crate::run::Study;
use crate::status::Status;
use crate::summary::{Block, Progressed, summarise};

/// Writes `results.csv`, `study.json`, tables, curves, pictures and `status.md`. Returns the tables of the main results as Markdown.
///
/// # Errors
/// If a result is damaged or a file cannot be written.
pub fn write_report(study: &Study) -> Result<Vec<String>> {
    let cells = study.progress()?;
    let blocks = summarise(&study.config, &study.plan, &cells)?;
    let folder = study.folder();
    write_text(&folder.join("results.csv"), &rows(study, &cells)?)?;
    write(&folder.join("study.json"), &summary(study, &cells, &blocks))?;
    let tables = layouts::tables(&study.config, &study.plan, &blocks);
    let place = folder.join("tables");
    for table in &tables {
        let named = |ending: &str| place.join(format!("{}.{ending}", table.name));
        write_text(&named("md"), &table.markdown())?;
        write_text(&named("tex"), &table.latex())?;
        write_text(&named("csv"), &table.csv().map_err(|e| in_table(&table.name, &e))?)?;
    }
    if study.config.fractions.len() > 1 {
        for task in study.config.tasks.keys() {
            let of_task: Vec<&Block> =
                blocks.iter().filter(|block| block.task == *task && block.given.is_none()).collect();
            let path = folder.join("curves").join(format!("{task}.svg"));
            curves::draw(&path, &study.config, &study.plan, task, &of_task)?;
        }
    }
    pictures::draw(study, &cells)?;
    write_text(&folder.join("status.md"), &Status::of(study, &cells)?.markdown())?;
    Ok(tables.iter().map(table::Table::markdown).collect())
}

fn in_table(name: &str, error: &dyn std::fmt::Display) -> crate::Error {
    crate::Error::Config(format!("table {name}: {error}"))
}

/// A row a case, region and cell.
fn rows(study: &Study, cells: &[Progressed<'_>]) -> Result<String> {
    let fail = |e: csv::Error| in_table("results.csv", &e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let head = [
        "task",
        "arm",
        "method",
        "network",
        "labels",
        "fold",
        "seed",
        "modalities",
        "fill",
        "case",
        "region",
        "metric",
        "value",
    ];
    writer.write_record(head).map_err(fail)?;
    for progressed in cells {
        let Some(result) = &progressed.result else { continue };
        let (cell, arm) = (progressed.cell, &study.plan.arms[progressed.cell.arm]);
        for scored in &result.scored {
            let names = |modalities: &Vec<_>| modalities.iter().map(ToString::to_string).collect::<Vec<_>>();
            let modalities = scored.modalities.as_ref().map_or(String::new(), |m| names(m).join("+"));
            let fill = scored.fill.map_or(String::new(), |fill| format!("{fill:?}").to_lowercase());
            let of_cell = [
                cell.task.clone(),
                arm.name.clone(),
                arm.title.clone(),
                arm.network.map_or(String::new(), |network| network.name().to_owned()),
                cell.fraction.to_string(),
                cell.fold.map_or(String::new(), |fold| fold.to_string()),
                cell.seed.to_string(),
                modalities,
                fill,
            ];
            for row in scored.outcome.rows() {
                writer.write_record(of_cell.iter().chain(&row)).map_err(fail)?;
            }
        }
    }
    let bytes = writer.into_inner().map_err(|e| in_table("results.csv", &e.error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// All numbers of the tables and more, and what became of every cell.
fn summary(study: &Study, cells: &[Progressed<'_>], blocks: &[Block]) -> serde_json::Value {
    let arms = &study.plan.arms;
    let of_cell = |progressed: &Progressed<'_>| {
        let (state, reason) = match &progressed.state {
            State::Done => ("done", None),
            State::Running => ("running", None),
            State::Failed(reason) => ("failed", Some(reason)),
            State::Left => ("left", None),
        };
        let result = progressed.result.as_ref();
        json!({
            "cell": progressed.cell.folder(arms),
            "state": state,
            "reason": reason,
            "pretraining": result.and_then(|result| result.pretraining),
            "finetune_steps": result.map(|result| result.finetune_steps),
            "seconds": result.map(|result| result.seconds),
        })
    };
    let of_block = |block: &Block| {
        let of_arm = |arm: &crate::summary::ArmSummary| {
            let named = block.measures.iter().zip(&arm.values).map(|(measure, summary)| {
                json!({ "metric": measure.name, "region": measure.region, "summary": summary })
            });
            json!({
                "arm": arms[arm.arm].name,
                "seeds": arm.seeds,
                "cases": arm.cases,
                "rank": arm.rank,
                "values": named.collect::<Vec<_>>(),
            })
        };
        json!({
            "task": block.task,
            "labels": block.fraction,
            "modalities": block.given.as_ref().map(|(modalities, _)| modalities),
            "fill": block.given.as_ref().map(|(_, fill)| fill),
            "arms": block.arms.iter().map(of_arm).collect::<Vec<_>>(),
        })
    };
    json!({
        "version": 1,
        "kind": study.config.kind,
        "title": study.config.title,
        "cells": cells.iter().map(of_cell).collect::<Vec<_>>(),
        "results": blocks.iter().map(of_block).collect::<Vec<_>>(),
    })
}
