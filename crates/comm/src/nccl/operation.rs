//! One collective in flight: the ranks meet on the host, then the device does it.

use super::Shared;
use super::link::{Link, broken};
use super::meeting::Meeting;
use super::plan::{Plan, UnderWay};
use super::pulse::Beat;
use super::trouble::{Trouble, lost};
use crate::backend::GroupSpec;
use crate::descriptor::Descriptor;
use crate::device_request::Asked;
use crate::group::lock;
use crate::operation::{Fault, Operation, Step};
use std::sync::{Arc, Mutex};

pub(super) struct NcclOperation {
    shared: Arc<Shared>,
    spec: Arc<GroupSpec>,
    link: Arc<Mutex<Link>>,
    asked: Asked,
    meeting: Meeting,
    stage: Stage,
    trouble: Trouble,
    beat: Option<Beat>,
}

enum Stage {
    Meeting,
    Linking,
    /// On the device.
    Moving(UnderWay),
}

impl NcclOperation {
    pub fn new((shared, spec): (&Arc<Shared>, &Arc<GroupSpec>), link: &Arc<Mutex<Link>>, asked: Asked, meeting: Meeting) -> NcclOperation {
        NcclOperation {
            shared: Arc::clone(shared),
            spec: Arc::clone(spec),
            link: Arc::clone(link),
            asked,
            meeting,
            stage: Stage::Meeting,
            trouble: Trouble::default(),
            beat: None,
        }
    }

    /// Asks the device for it, once there is a way.
    fn begin(&mut self) -> Result<Step, Fault> {
        let mut link = lock(&self.link);
        link.fault()?;
        let way = match link.poll() {
            Ok(Some(way)) => way,
            Ok(None) => return Ok(Step::Waiting),
            Err(error) => return self.trouble.tell(error),
        };
        drop(link);
        let (plan, ready) = match &self.asked {
            Asked::OnHost(request) => (Plan::staged(request, &self.shared.device, self.spec.rank), None),
            Asked::OnDevice(asked) => (Plan::direct(&asked.request, self.spec.rank), Some(&asked.ready)),
        };
        let Some(under_way) = plan.and_then(|plan| plan.begin(&way, ready)).map_err(broken)? else { return Ok(Step::Done) };
        self.stage = Stage::Moving(under_way);
        Ok(Step::Moved)
    }
}

impl Operation for NcclOperation {
    fn poll(&mut self) -> Result<Step, Fault> {
        match &mut self.stage {
            Stage::Meeting => match self.meeting.poll(&mut lock(&self.link))? {
                Step::Done => {
                    self.stage = Stage::Linking;
                    self.beat = Some(self.shared.pulse.begin());
                    Ok(Step::Moved)
                }
                step => Ok(step),
            },
            Stage::Linking => self.begin(),
            Stage::Moving(under_way) => {
                let polled = under_way.poll();
                if let Asked::OnDevice(asked) = &self.asked
                    && let Some(mark) = under_way.mark().filter(|_| !asked.is_issued())
                {
                    asked.ends_at(mark);
                    asked.issued();
                }
                match polled {
                    Ok(true) => Ok(Step::Done),
                    Ok(false) => Ok(Step::Waiting),
                    Err(error) => self.trouble.tell(error),
                }
            }
        }
    }

    fn lets_follow(&self) -> bool {
        matches!(&self.stage, Stage::Moving(under_way) if under_way.mark().is_some())
    }

    /// Once all have met, only those that have ended are still to be named.
    fn missing(&self) -> Vec<usize> {
        match self.stage {
            Stage::Meeting => self.meeting.operation().missing(),
            _ => lost(&*self.shared.base, &self.spec),
        }
    }

    fn blockers(&self) -> Vec<usize> {
        match self.stage {
            Stage::Meeting => self.meeting.operation().blockers(),
            _ => self.missing(),
        }
    }

    fn posted(&self, member: usize) -> Option<Descriptor> {
        self.meeting.operation().posted(member)
    }
}
