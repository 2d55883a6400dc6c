//! The watchdog over a scripted transport: it needs nothing from any particular backend.

mod support;

use megatron_comm::{
    Backend, Bell, Code, ControlPlane, Descriptor, Error, Failure, Fault, GroupSpec, Kind, Label, Operation, Presence, Request, Settings,
    Step, Transport, World,
};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// What the next polls of an operation return; `Waiting` for ever afterwards.
type Script = Vec<Result<Step, Fault>>;

/// Rank 0 of a world of two whose other rank is scripted.
struct Scripted {
    scripts: Mutex<VecDeque<Script>>,
    other: Mutex<Presence>,
    posted: Option<Descriptor>,
    failure: Arc<OnceLock<Failure>>,
    /// What another rank records just before an operation ends here.
    crossing: Option<Failure>,
}

impl Scripted {
    fn new(scripts: Vec<Script>) -> Arc<Self> {
        let (scripts, other) = (Mutex::new(scripts.into()), Mutex::new(Presence::Alive));
        Arc::new(Self { scripts, other, posted: None, failure: Arc::default(), crossing: None })
    }
}

impl Backend for Scripted {
    fn control(&self) -> &dyn ControlPlane {
        self
    }

    fn bell(&self) -> &dyn Bell {
        self
    }

    fn open(&self, _spec: &Arc<GroupSpec>) -> Box<dyn Transport> {
        let scripts = std::mem::take(&mut *self.scripts.lock().unwrap());
        let (failure, crossing) = (Arc::clone(&self.failure), self.crossing.clone());
        Box::new(ScriptedTransport { scripts, posted: self.posted, failure, crossing })
    }
}

impl ControlPlane for Scripted {
    fn presence(&self, _rank: u32) -> Presence {
        self.other.lock().unwrap().clone()
    }

    fn pid(&self, rank: u32) -> u32 {
        100 + rank
    }

    fn enter(&self, _descriptor: &Descriptor) {}

    fn entered(&self, _rank: u32) -> Option<Descriptor> {
        None
    }

    fn failure(&self) -> Option<Failure> {
        self.failure.get().cloned()
    }

    fn fail(&self, failure: Failure) -> Failure {
        self.failure.get_or_init(|| failure).clone()
    }

    fn leave(&self) {}
}

impl Bell for Scripted {
    fn announce(&self) -> u32 {
        0
    }

    fn sleep(&self, _ticket: u32, limit: Option<Duration>) {
        std::thread::sleep(limit.unwrap_or_default().min(Duration::from_millis(1)));
    }

    fn ring(&self) {}
}

struct ScriptedTransport {
    scripts: VecDeque<Script>,
    posted: Option<Descriptor>,
    failure: Arc<OnceLock<Failure>>,
    crossing: Option<Failure>,
}

impl Transport for ScriptedTransport {
    fn start(&mut self, _descriptor: Descriptor, _request: &Arc<Request>) -> Box<dyn Operation> {
        let script = self.scripts.pop_front().unwrap_or_default().into();
        let (failure, crossing) = (Arc::clone(&self.failure), self.crossing.clone());
        Box::new(ScriptedOperation { script, posted: self.posted, failure, crossing })
    }
}

struct ScriptedOperation {
    script: VecDeque<Result<Step, Fault>>,
    posted: Option<Descriptor>,
    failure: Arc<OnceLock<Failure>>,
    crossing: Option<Failure>,
}

impl Operation for ScriptedOperation {
    fn poll(&mut self) -> Result<Step, Fault> {
        let step = self.script.pop_front().unwrap_or(Ok(Step::Waiting));
        if step == Ok(Step::Done)
            && let Some(failure) = self.crossing.take()
        {
            let _ = self.failure.set(failure);
        }
        step
    }

    fn missing(&self) -> Vec<usize> {
        vec![1]
    }

    fn posted(&self, _member: usize) -> Option<Descriptor> {
        self.posted
    }
}

fn world(backend: &Arc<Scripted>) -> World {
    let limit = Duration::from_millis(200);
    World::over(backend.clone(), 0, 2, Settings { timeout: limit, join_timeout: limit, ..Settings::new(2) })
}

fn outcome(backend: &Arc<Scripted>) -> Result<(), Failure> {
    let world = world(backend);
    let group = world.open("dp", &[0, 1]).unwrap();
    support::complete_labelled(&group, Request::Barrier, "step 7")
}

#[test]
fn an_operation_ends_when_its_transport_says_so() {
    assert_eq!(outcome(&Scripted::new(vec![vec![Ok(Step::Waiting), Ok(Step::Moved), Ok(Step::Done)]])), Ok(()));
}

#[test]
fn collectives_of_one_group_run_in_order() {
    let backend = Scripted::new(vec![vec![Ok(Step::Waiting), Ok(Step::Waiting), Ok(Step::Done)], vec![Ok(Step::Done)]]);
    let world = world(&backend);
    let group = world.open("dp", &[0, 1]).unwrap();
    let [first, second] = [1, 2].map(|_| group.submit(Request::Barrier, Label::EMPTY).unwrap());
    assert_eq!((first.descriptor().sequence, second.descriptor().sequence), (1, 2));
    assert_eq!(second.wait(None), Ok(()));
    assert!(first.is_done());
}

#[test]
fn a_result_is_not_delivered_after_a_failure() {
    let failure = Failure { code: Code::PeerLost, culprits: vec![1], message: "rank 1 is gone".into() };
    let mut backend = Scripted::new(vec![vec![Ok(Step::Waiting), Ok(Step::Done)]]);
    Arc::get_mut(&mut backend).unwrap().crossing = Some(failure.clone());
    let world = world(&backend);
    let group = world.open("dp", &[0, 1]).unwrap();
    assert_eq!(support::complete(&group, Request::Barrier), Err(failure.clone()));
    assert_eq!(group.submit(Request::Barrier, Label::EMPTY).err(), Some(Error::Failed(failure)));
}

#[test]
fn the_deadline_names_who_is_missing() {
    let failure = outcome(&Scripted::new(vec![])).unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::Timeout, vec![1]));
    let sentence = "rank 0 waited 200 ms in barrier#1 (step 7) on group dp: rank 1 (pid 101, alive) never joined; it has entered no \
                    operation yet. Find what keeps rank 1 away, or raise the limit.";
    assert_eq!(failure.message, sentence);
}

#[test]
fn a_lost_rank_is_named_before_the_deadline() {
    let backend = Scripted::new(vec![]);
    *backend.other.lock().unwrap() = Presence::Lost;
    let failure = outcome(&backend).unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::PeerLost, vec![1]));
}

#[test]
fn what_a_rank_did_before_it_was_lost_counts() {
    // Waits until the inspection, whose second look finds the operation ended.
    let polls = (0..100_000).map(|_| Ok(Step::Moved)).chain([Ok(Step::Done)]).collect();
    let backend = Scripted::new(vec![polls]);
    *backend.other.lock().unwrap() = Presence::Lost;
    assert_eq!(outcome(&backend), Ok(()));
}

#[test]
fn a_disagreement_names_both_operations() {
    let mut backend = Scripted::new(vec![vec![Err(Fault::Disagree)]]);
    let template = {
        let probe = Scripted::new(vec![vec![Ok(Step::Done)]]);
        *world(&probe).open("dp", &[0, 1]).unwrap().submit(Request::Barrier, Label::new("eval")).unwrap().descriptor()
    };
    let mut theirs = template;
    theirs.signature.kind = Kind::AllReduce;
    Arc::get_mut(&mut backend).unwrap().posted = Some(theirs);
    let failure = outcome(&backend).unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::Mismatch, vec![1]));
    let sentence = "collective mismatch on group dp: rank 1 called allReduce#1 (eval) while rank 0 called barrier#1 (step 7). \
                    The ranks disagree on the order of collectives.";
    assert_eq!(failure.message, sentence);
}

#[test]
fn a_broken_transport_aborts_the_world() {
    let failure = outcome(&Scripted::new(vec![vec![Err(Fault::Broken("the network is down.".into()))]])).unwrap_err();
    assert_eq!(failure.code, Code::Aborted);
    assert_eq!(failure.message, "rank 0 gave up in barrier#1 (step 7) on group dp: the network is down.");
}

#[test]
fn leaving_with_operations_outstanding_fails_the_world() {
    let backend = Scripted::new(vec![]);
    let world = World::over(backend.clone(), 0, 2, Settings::new(2));
    let group = world.open("dp", &[0, 1]).unwrap();
    let work = group.submit(Request::Barrier, Label::EMPTY).unwrap();
    world.leave();
    let failure = work.wait(None).unwrap_err();
    assert_eq!(failure.message, "rank 0 left the world with 1 operations outstanding. Wait for every operation before leaving.");
    assert_eq!(world.failure(), Some(failure));
}
