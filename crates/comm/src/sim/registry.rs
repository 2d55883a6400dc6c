//! Where the ranks of one process find each other: worlds by the name of their job, each as long as it has members.

use super::hub::Hub;
use crate::failure::Error;
use crate::group::lock;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, Weak};

static WORLDS: LazyLock<Mutex<HashMap<String, Weak<Hub>>>> = LazyLock::new(Mutex::default);

/// Takes the seat of `rank` in the world of `job`, which the first to come founds. A world that is over makes room for a new one.
pub fn enter(job: &str, rank: u32, size: u32, chunk: Option<usize>) -> Result<Arc<Hub>, Error> {
    let mut worlds = lock(&WORLDS);
    let known = worlds.get(job).and_then(Weak::upgrade);
    let (hub, over) = match known {
        Some(hub) if !hub.is_over_for(rank) => (hub, None),
        over => {
            let hub = Arc::new(Hub::new(job, rank, size, chunk));
            worlds.insert(job.to_owned(), Arc::downgrade(&hub));
            (hub, over)
        }
    };
    let refusal = if hub.size() != size as usize {
        let (founder, theirs) = (hub.founder, hub.size());
        Some(format!("join: rank {rank} expects a world of {size} and rank {founder} one of {theirs}. Give all ranks one WORLD_SIZE."))
    } else if !hub.sit_down(rank) {
        Some(format!("join: rank {rank} is taken by another thread. Start each rank once."))
    } else {
        None
    };
    // Worlds are dropped only without the lock: a world's end asks for it.
    drop(worlds);
    drop(over);
    refusal.map_or(Ok(hub), |message| Err(Error::Refused(message)))
}

/// The worlds whose jobs begin with `job`.
pub fn find(job: &str) -> Vec<Arc<Hub>> {
    let worlds = lock(&WORLDS);
    worlds.iter().filter(|(name, _)| name.starts_with(job)).filter_map(|(_, hub)| hub.upgrade()).collect()
}

/// Forgets the world of `job` when all of it has gone.
pub fn forget(job: &str) {
    let mut worlds = lock(&WORLDS);
    if worlds.get(job).is_some_and(|hub| hub.strong_count() == 0) {
        worlds.remove(job);
    }
}
