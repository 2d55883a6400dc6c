//! Groups that are known beforehand, as a mesh's are: their communicators are made by dividing one of the whole world, which NCCL does faster
//! than it lets the ranks of each group meet anew.

use super::NcclBackend;
use super::link::Link;
use super::meeting::Meeting;
use crate::backend::{Backend, GroupSpec};
use crate::descriptor::{Descriptor, GroupName, Kind, Label, Signature};
use crate::failure::{Code, Error, Failure, ranks_text};
use crate::group::lock;
use crate::operation::Step;
use crate::request::Request;
use cuda::Config;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use storage::Span;

/// What the world is called as it is divided.
const NAME: &str = "nccl";
/// Between two looks.
const PAUSE: Duration = Duration::from_micros(200);

/// A name, and the lists of world ranks that become groups of this name. No rank stands in two of them; some may stand in none.
pub type Division<'a> = (&'a str, &'a [Vec<u32>]);

impl NcclBackend {
    /// Divides the world of `size` ranks, of which this is `rank`. All ranks call this once, with the same divisions, before they open groups;
    /// it returns when all have. The first group that is opened with such a name and ranks uses what was made here.
    pub fn divide(&self, (rank, size): (u32, u32), divisions: &[Division]) -> Result<(), Error> {
        let shared = &self.0;
        let broken = |message: String| {
            let failure = Failure {
                code: Code::Aborted,
                culprits: vec![rank],
                message: format!("rank {rank} gave up dividing the world: {message}"),
            };
            Error::Failed(self.control().fail(failure))
        };
        let spec = Arc::new(GroupSpec { name: NAME.into(), ranks: (0..size).collect(), rank: rank as usize, instance: 0 });
        let mut link = Link::new(shared, NAME.into(), (rank as usize, size as usize));
        self.meet(&spec, &mut link)?;
        let begin = Instant::now();
        let world = loop {
            link.fault().map_err(|fault| broken(format!("{fault:?}")))?;
            match link.poll().map_err(|error| broken(error.message))? {
                Some(way) => break way.communicator,
                None if begin.elapsed() > shared.config.limit => {
                    return Err(broken(format!("NCCL has not let the ranks meet within {} ms.", shared.config.limit.as_millis())));
                }
                None => thread::sleep(PAUSE),
            }
        };
        let config = Config { shares_on_split: true, ..shared.config };
        for (name, lists) in divisions {
            let found =
                lists.iter().enumerate().find_map(|(color, list)| Some((color, list, list.iter().position(|&other| other == rank)?)));
            let (color, key) = found.map_or((None, 0), |(color, _, key)| (Some(color as u16), key));
            let child = world.split(name, color, key, config).map_err(|error| broken(error.message))?;
            if let (Some(child), Some((_, list, _))) = (child, found) {
                shared.communicators.add(&child);
                lock(&shared.divided).insert(((*name).to_owned(), list.clone()), child);
            }
        }
        Ok(())
    }

    /// Lets all ranks come, and tells them the id.
    fn meet(&self, spec: &Arc<GroupSpec>, link: &mut Link) -> Result<(), Error> {
        let (control, limit, begin) = (self.control(), self.0.config.limit, Instant::now());
        let signature = Signature { kind: Kind::Barrier, dtype: None, op: None, root: None, count: 0, on_device: false };
        let descriptor = Descriptor { group: GroupName::new(NAME), sequence: 1, signature, label: Label::EMPTY };
        let mut base = self.0.base.open(spec);
        let fail = |code: Code, culprits: Vec<u32>, message: String| Err(Error::Failed(control.fail(Failure { code, culprits, message })));
        let rank = spec.ranks[spec.rank];
        let mut meeting = match Meeting::begin(&mut *base, spec, (descriptor, &Request::<Span>::Barrier), link) {
            Ok(meeting) => meeting,
            Err(fault) => return fail(Code::Aborted, vec![rank], format!("rank {rank} gave up dividing the world: {fault:?}")),
        };
        loop {
            if let Some(failure) = control.failure() {
                return Err(failure.into());
            }
            match meeting.poll(link) {
                Ok(Step::Done) => return Ok(()),
                Ok(_) if begin.elapsed() <= limit => thread::sleep(PAUSE),
                Ok(_) => {
                    let missing: Vec<u32> = meeting.operation().missing().into_iter().map(|member| spec.ranks[member]).collect();
                    let (who, waited) = (ranks_text(&missing), limit.as_millis());
                    let message =
                        format!("rank {rank} waited {waited} ms to divide the world: {who} never came. Find what keeps them away.");
                    return fail(Code::Timeout, missing, message);
                }
                Err(fault) => return fail(Code::Mismatch, vec![rank], format!("rank {rank} cannot divide the world: {fault:?}")),
            }
        }
    }
}
