//! What lets the ranks of a group meet on the host before NCCL is asked for a collective: an operation of the backend below, under the
//! descriptor of the collective. It finds who is missing and who does something else, and carries what the ranks must know of each other.

use super::link::{ID_WORDS, Link};
use crate::backend::{GroupSpec, Transport};
use crate::blocks::Blocks;
use crate::descriptor::{Descriptor, Kind};
use crate::memory::Memory;
use crate::operation::{Fault, Operation, Step};
use crate::request::Request;
use std::sync::Arc;
use storage::{DType, Span};

pub(super) struct Meeting {
    operation: Box<dyn Operation>,
    /// What all ranks tell, if anything.
    told: Option<Span>,
    has_id: bool,
    has_counts: bool,
    ranks: usize,
}

/// Kinds whose blocks may be of different lengths.
fn may_be_uneven(kind: Kind) -> bool {
    matches!(kind, Kind::AllGather | Kind::ReduceScatter | Kind::Gather | Kind::Scatter | Kind::AllToAll)
}

fn words(values: &[i64]) -> Result<Span, Fault> {
    Span::from_slice(DType::I64, values).map_err(Fault::Broken)
}

impl Meeting {
    /// Begins it. The first of a group carries NCCL's id, those of blocks carry their lengths.
    pub fn begin<M: Memory>(
        base: &mut dyn Transport,
        spec: &GroupSpec,
        what: (Descriptor, &Request<M>),
        link: &Link,
    ) -> Result<Meeting, Fault> {
        let ((descriptor, request), ranks) = (what, spec.ranks.len());
        let (has_id, has_counts) = (link.is_apart(), may_be_uneven(request.kind()));
        let mut own = if has_id { link.id()?.to_vec() } else { Vec::new() };
        if has_counts {
            let (send, receive) = request.pair_counts(spec.rank).unwrap_or_else(|| (vec![0; ranks], vec![0; ranks]));
            own.extend(send.into_iter().chain(receive).map(|count| count as i64));
        }
        let told = if own.is_empty() { None } else { Some(words(&vec![0; own.len() * ranks])?) };
        let carrier = match &told {
            None => Request::Barrier,
            Some(target) => Request::AllGather { source: words(&own)?, target: target.clone(), blocks: Blocks::even(own.len(), ranks) },
        };
        Ok(Meeting { operation: base.start(descriptor, &Arc::new(carrier)), told, has_id, has_counts, ranks })
    }

    pub fn operation(&self) -> &dyn Operation {
        &*self.operation
    }

    /// Goes on; when all have met, what they told reaches the link, and is compared.
    pub fn poll(&mut self, link: &mut Link) -> Result<Step, Fault> {
        let step = self.operation.poll()?;
        if step != Step::Done {
            return Ok(step);
        }
        let Some(told) = &self.told else { return Ok(step) };
        let told = told.slice::<i64>().map_err(Fault::Broken)?;
        if self.has_counts {
            self.compare(told)?;
        }
        if self.has_id {
            link.join(&told[..ID_WORDS]);
        }
        Ok(step)
    }

    fn compare(&self, told: &[i64]) -> Result<(), Fault> {
        let (ranks, each) = (self.ranks, told.len() / self.ranks);
        let counts = |rank: usize, list: usize| &told[(rank + 1) * each - (2 - list) * ranks..][..ranks];
        for (from, to) in (0..ranks).flat_map(|from| (0..ranks).map(move |to| (from, to))) {
            let (sent, expected) = (counts(from, 0)[to] as u64, counts(to, 1)[from] as u64);
            if sent != expected {
                return Err(Fault::Uneven { from, to, sent, expected });
            }
        }
        Ok(())
    }
}
