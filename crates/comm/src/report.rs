//! The failure as one block on standard error, printed by one rank: the sentence, and what every rank was doing.

use crate::backend::Presence;
use crate::failure::Failure;
use crate::world::WorldState;
use std::collections::HashSet;
use std::io::Write;
use std::time::{Duration, Instant};

/// Rows of the table at most.
const ROWS: usize = 32;
/// Characters of a row at most.
const WIDTH: usize = 140;
/// After this long no further rank is asked what it did.
const PATIENCE: Duration = Duration::from_secs(1);
const HEAD: [&str; COLUMNS] = ["", "rank", "host", "pid", "state", "group", "last operation entered"];
const COLUMNS: usize = 7;

type Row = [String; COLUMNS];

/// Prints the report when that falls to this rank: the lowest that is alive and no culprit, else the lowest alive.
pub(crate) fn print(world: &WorldState, failure: &Failure) {
    let is_alive = |rank: &u32| *rank == world.rank || world.control().presence(*rank) == Presence::Alive;
    let ranks = || 0..world.size as u32;
    let reporter = ranks().find(|rank| !failure.culprits.contains(rank) && is_alive(rank)).or_else(|| ranks().find(is_alive));
    if reporter == Some(world.rank) && world.control().claim_report() {
        // In one piece, so that nothing of other ranks comes between. When standard error is gone, nobody reads.
        let _ = std::io::stderr().lock().write_all(block(world, failure).as_bytes());
    }
}

fn block(world: &WorldState, failure: &Failure) -> String {
    let rows = rows(world, failure);
    let mut text = format!("megatron-ts: {}: {failure}\n{}", failure.code.name(), table(&rows));
    if rows.len() < world.size {
        text += &format!("  and {} more ranks\n", world.size - rows.len());
    }
    if let Some(directory) = &world.settings.recorder_dir {
        let directory = directory.display();
        text += &format!("Flight records are in {directory}. To compare them: megatron-ts diagnose {directory}\n");
    }
    text
}

/// A row for each rank, culprits first.
fn rows(world: &WorldState, failure: &Failure) -> Vec<Row> {
    let culprits: HashSet<u32> = failure.culprits.iter().copied().collect();
    let blamed = failure.culprits.iter().copied().filter(|&rank| (rank as usize) < world.size);
    let others = (0..world.size as u32).filter(|rank| !culprits.contains(rank));
    let start = Instant::now();
    let chosen = blamed.chain(others).take(ROWS);
    chosen.map(|rank| row(world, rank, culprits.contains(&rank), start.elapsed() < PATIENCE)).collect()
}

fn row(world: &WorldState, rank: u32, is_culprit: bool, ask: bool) -> Row {
    let control = world.control();
    let state = match control.presence(rank) {
        _ if rank == world.rank => "alive",
        Presence::Absent => "absent",
        Presence::Alive => "alive",
        Presence::Left => "left",
        Presence::Lost => "lost",
    };
    let (group, operation) = match if ask { control.entered(rank) } else { None } {
        Some(descriptor) => (descriptor.group.to_string(), descriptor.to_string()),
        None => ("-".into(), if ask { "none yet".into() } else { "not known".into() }),
    };
    let mark = if is_culprit { ">" } else { "" };
    let pid = control.pid(rank);
    let pid = if pid == 0 { "-".into() } else { pid.to_string() };
    [mark.into(), rank.to_string(), world.host(rank), pid, state.into(), group, operation]
}

/// The rows below their head, in columns.
fn table(rows: &[Row]) -> String {
    let head = HEAD.map(String::from);
    let width = |column: usize| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |row: &Row| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let text: String = cells.join(" ").trim_end().chars().take(WIDTH).collect();
        text + "\n"
    };
    std::iter::once(&head).chain(rows).map(line).collect()
}
