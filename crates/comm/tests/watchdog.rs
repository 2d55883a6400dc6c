//! The watchdog over a scripted transport: it needs nothing from any particular backend.

mod support;

use megatron_comm::{
    Backend, Bell, Code, ControlPlane, Descriptor, Error, Failure, Fault, GroupName, GroupSpec, Kind, Label, Operation, Presence, Request,
    Settings, Signature, Step, Transport, Wait, World,
};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// What the next polls of an operation return; `Waiting` for ever afterwards.
type Script = Vec<Result<Step, Fault>>;

/// What rank 0 can find out about the others. World ranks, except in `posted`.
#[derive(Clone)]
struct Facts {
    presence: Presence,
    missing: Vec<usize>,
    /// What each group rank has posted, as the transport sees it.
    posted: HashMap<usize, Descriptor>,
    entered: HashMap<u32, Descriptor>,
    waits: HashMap<u32, Wait>,
    /// Whether there are several hosts.
    has_hosts: bool,
    /// What another rank records just before an operation ends here.
    crossing: Option<Failure>,
    /// Whether every operation pretends to have ended once the world has failed.
    lies: bool,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            presence: Presence::Alive,
            missing: vec![1],
            posted: HashMap::new(),
            entered: HashMap::new(),
            waits: HashMap::new(),
            has_hosts: false,
            crossing: None,
            lies: false,
        }
    }
}

/// Rank 0 of a world whose other ranks are scripted.
struct Scripted {
    scripts: Mutex<VecDeque<Script>>,
    facts: Facts,
    failure: Arc<OnceLock<Failure>>,
    /// What this rank told the others that it waits for.
    told: Mutex<Option<Wait>>,
}

impl Scripted {
    fn new(scripts: Vec<Script>) -> Arc<Self> {
        Self::with(scripts, Facts::default())
    }

    fn with(scripts: Vec<Script>, facts: Facts) -> Arc<Self> {
        Arc::new(Self { scripts: Mutex::new(scripts.into()), facts, failure: Arc::default(), told: Mutex::default() })
    }
}

impl Backend for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn control(&self) -> &dyn ControlPlane {
        self
    }

    fn bell(&self) -> &dyn Bell {
        self
    }

    fn open(&self, _spec: &Arc<GroupSpec>) -> Box<dyn Transport> {
        // One script for each operation, whichever group it is of: the first group takes all there are.
        let scripts = std::mem::take(&mut *self.scripts.lock().unwrap());
        Box::new(ScriptedTransport { scripts, facts: self.facts.clone(), failure: Arc::clone(&self.failure) })
    }
}

impl ControlPlane for Scripted {
    fn presence(&self, _rank: u32) -> Presence {
        self.facts.presence.clone()
    }

    fn pid(&self, rank: u32) -> u32 {
        100 + rank
    }

    fn host(&self, rank: u32) -> Option<String> {
        self.facts.has_hosts.then(|| format!("n{rank}"))
    }

    fn enter(&self, _descriptor: &Descriptor) {}

    fn entered(&self, rank: u32) -> Option<Descriptor> {
        self.facts.entered.get(&rank).copied()
    }

    fn note_wait(&self, wait: Option<&Wait>) {
        *self.told.lock().unwrap() = wait.copied();
    }

    fn wait_of(&self, rank: u32) -> Option<Wait> {
        self.facts.waits.get(&rank).copied()
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
    facts: Facts,
    failure: Arc<OnceLock<Failure>>,
}

impl Transport for ScriptedTransport {
    fn start(&mut self, _descriptor: Descriptor, _request: &Arc<Request>) -> Box<dyn Operation> {
        let script = self.scripts.pop_front().unwrap_or_default().into();
        Box::new(ScriptedOperation { script, facts: self.facts.clone(), failure: Arc::clone(&self.failure) })
    }
}

struct ScriptedOperation {
    script: VecDeque<Result<Step, Fault>>,
    facts: Facts,
    failure: Arc<OnceLock<Failure>>,
}

impl Operation for ScriptedOperation {
    fn poll(&mut self) -> Result<Step, Fault> {
        let is_lie = self.facts.lies && self.failure.get().is_some();
        let step = self.script.pop_front().unwrap_or(Ok(if is_lie { Step::Done } else { Step::Waiting }));
        if step == Ok(Step::Done)
            && let Some(failure) = self.facts.crossing.take()
        {
            let _ = self.failure.set(failure);
        }
        step
    }

    fn missing(&self) -> Vec<usize> {
        self.facts.missing.clone()
    }

    fn posted(&self, member: usize) -> Option<Descriptor> {
        self.facts.posted.get(&member).copied()
    }
}

const WORLD: u32 = 4;

/// A barrier on a group, or another operation where that is said.
fn operation(group: &str, sequence: u64, kind: Kind) -> Descriptor {
    let signature = Signature { kind, dtype: None, op: None, root: None, count: 0, on_device: false };
    Descriptor { group: GroupName::new(group), sequence, signature, label: Label::EMPTY }
}

fn wait(rank: u32, group: &str, sequence: u64) -> Wait {
    Wait { operation: operation(group, sequence, Kind::Barrier), rank }
}

fn world(backend: &Arc<Scripted>) -> World {
    let limit = Duration::from_millis(200);
    let settings = Settings { timeout: limit, join_timeout: limit, ..Settings::new(WORLD as usize) };
    World::over("job", backend.clone(), 0, WORLD, settings)
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
    let facts = Facts { crossing: Some(failure.clone()), ..Facts::default() };
    let backend = Scripted::with(vec![vec![Ok(Step::Waiting), Ok(Step::Done)]], facts);
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

fn lost() -> Facts {
    Facts { presence: Presence::Lost, ..Facts::default() }
}

#[test]
fn a_lost_rank_is_named_before_the_deadline() {
    let failure = outcome(&Scripted::with(vec![], lost())).unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::PeerLost, vec![1]));
}

#[test]
fn what_a_rank_did_before_it_was_lost_counts() {
    // Waits until the inspection, whose second look finds the operation ended.
    let polls = (0..100_000).map(|_| Ok(Step::Moved)).chain([Ok(Step::Done)]).collect();
    assert_eq!(outcome(&Scripted::with(vec![polls], lost())), Ok(()));
}

#[test]
fn a_disagreement_names_both_operations() {
    let mut theirs = operation("dp", 1, Kind::AllReduce);
    theirs.label = Label::new("eval");
    let facts = Facts { posted: HashMap::from([(1, theirs)]), ..Facts::default() };
    let failure = outcome(&Scripted::with(vec![vec![Err(Fault::Disagree)]], facts)).unwrap_err();
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
    let world = World::over("job", backend.clone(), 0, WORLD, Settings::new(2));
    let group = world.open("dp", &[0, 1]).unwrap();
    let work = group.submit(Request::Barrier, Label::EMPTY).unwrap();
    world.leave();
    let failure = work.wait(None).unwrap_err();
    assert_eq!(failure.message, "rank 0 left the world with 1 operations outstanding. Wait for every operation before leaving.");
    assert_eq!(world.failure(), Some(failure));
}

#[test]
fn hosts_are_named_where_there_are_several() {
    let waiting = Facts { has_hosts: true, ..Facts::default() };
    let failure = outcome(&Scripted::with(vec![], waiting.clone())).unwrap_err();
    assert!(failure.message.contains(": rank 1 (pid 101, host n1, alive) never joined;"), "{failure}");
    let failure = outcome(&Scripted::with(vec![], Facts { presence: Presence::Lost, ..waiting.clone() })).unwrap_err();
    let sentence = "rank 1 (pid 101, host n1) exited while rank 0 was in barrier#1 (step 7) on group dp; it has entered no operation yet. \
                    Look at the log of rank 1.";
    assert_eq!(failure.message, sentence);
    let failure = outcome(&Scripted::with(vec![], Facts { presence: Presence::Left, ..waiting })).unwrap_err();
    let sentence = "rank 1 (pid 101, host n1) left the world while rank 0 was in barrier#1 (step 7) on group dp; it has entered no \
                    operation yet. Every rank of a group must make the same calls.";
    assert_eq!(failure.message, sentence);
}

#[test]
fn a_rank_that_joined_and_stands_still_is_told_from_one_that_never_came() {
    let theirs = operation("dp", 1, Kind::Barrier);
    let facts = Facts { posted: HashMap::from([(1, theirs)]), entered: HashMap::from([(1, theirs)]), ..Facts::default() };
    let failure = outcome(&Scripted::with(vec![], facts)).unwrap_err();
    let part = "rank 1 (pid 101, alive) joined but does not go on; last operation it entered: barrier#1 on group dp.";
    assert!(failure.message.contains(part), "{failure}");
}

#[test]
fn a_rank_that_is_held_up_in_another_group_is_said_to_be_and_the_one_that_holds_it_up_is_blamed() {
    let facts = Facts { waits: HashMap::from([(1, wait(3, "tp", 9))]), ..Facts::default() };
    let failure = outcome(&Scripted::with(vec![], facts)).unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::Timeout, vec![3]));
    let sentence = "rank 0 waited 200 ms in barrier#1 (step 7) on group dp: rank 1 (pid 101, alive) never joined; it waits for rank 3 in \
                    barrier#9 on group tp; rank 3 (pid 103, alive) waits for nobody; it has entered no operation yet. Find what keeps \
                    rank 3 away, or raise the limit.";
    assert_eq!(failure.message, sentence);
}

#[test]
fn ranks_that_wait_for_each_other_are_named_as_a_circle() {
    let facts = Facts { waits: HashMap::from([(1, wait(3, "tp", 9)), (3, wait(0, "pp", 4))]), ..Facts::default() };
    let failure = outcome(&Scripted::with(vec![], facts)).unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::Timeout, vec![0, 1, 3]));
    let sentence = "rank 0 waited 200 ms in barrier#1 (step 7) on group dp: rank 0 waits for rank 1 in barrier#1 (step 7) on group dp; rank 1 \
                    waits for rank 3 in barrier#9 on group tp; rank 3 waits for rank 0 in barrier#4 on group pp: they wait for each other. \
                    Make all ranks post these operations in one order, or together.";
    assert_eq!(failure.message, sentence);
}

#[test]
fn a_circle_of_others_is_named_too() {
    let facts = Facts { waits: HashMap::from([(1, wait(3, "tp", 9)), (3, wait(1, "pp", 4))]), ..Facts::default() };
    let failure = outcome(&Scripted::with(vec![], facts)).unwrap_err();
    assert_eq!(failure.culprits, vec![1, 3]);
    let part =
        ": rank 1 waits for rank 3 in barrier#9 on group tp; rank 3 waits for rank 1 in barrier#4 on group pp: they wait for each other.";
    assert!(failure.message.contains(part), "{failure}");
}

#[test]
fn ranks_in_one_collective_are_no_circle() {
    let facts = Facts { waits: HashMap::from([(1, wait(0, "dp", 1))]), ..Facts::default() };
    let failure = outcome(&Scripted::with(vec![], facts)).unwrap_err();
    assert!(failure.message.contains("never joined; it has entered no operation yet"), "{failure}");
}

#[test]
fn an_operation_that_stands_still_although_nobody_is_missing_has_a_deadline() {
    let facts = Facts { missing: vec![], ..Facts::default() };
    let failure = outcome(&Scripted::with(vec![], facts)).unwrap_err();
    let sentence = "rank 0 waited 200 ms in barrier#1 (step 7) on group dp: no rank is missing, and nothing moves. Look at the connection \
                    between the ranks, or raise the limit.";
    assert_eq!((failure.code, failure.culprits, failure.message.as_str()), (Code::Timeout, vec![], sentence));
}

#[test]
fn messages_have_deadlines_like_everything() {
    let backend = Scripted::new(vec![]);
    let world = world(&backend);
    let group = world.open("pp", &[0, 1]).unwrap();
    let receives = vec![(1, support::floats(&[0.0; 3]))];
    let failure = support::complete(&group, Request::Exchange { sends: vec![], receives, kind: Kind::Receive }).unwrap_err();
    assert!(
        failure.message.starts_with("rank 0 waited 200 ms in recv#1 f32[3] on group pp: rank 1 (pid 101, alive) never joined"),
        "{failure}"
    );
}

#[test]
fn a_limit_given_to_wait_holds_for_an_operation_in_the_queue() {
    let backend = Scripted::new(vec![]);
    let world = World::over("job", backend.clone(), 0, WORLD, Settings::new(2));
    let group = world.open("dp", &[0, 1]).unwrap();
    let works = [1, 2, 3].map(|_| group.submit(Request::Barrier, Label::EMPTY).unwrap());
    let failure = works[2].wait(Some(Duration::from_millis(150))).unwrap_err();
    assert_eq!((failure.code, &failure.culprits), (Code::Timeout, &vec![1]));
    let start = "rank 0 waited 15";
    let end = " ms for barrier#3 on group dp, queued behind barrier#1: rank 1 (pid 101, alive) never joined; it has entered no operation \
               yet. Find what keeps rank 1 away, or raise the limit.";
    assert!(failure.message.starts_with(start) && failure.message.ends_with(end), "{failure}");
    assert_eq!(works[0].wait(None), Err(failure));
}

#[test]
fn the_odd_rank_is_named_although_only_an_edge_saw_it() {
    let (barrier, all_reduce) = (operation("dp", 1, Kind::Barrier), operation("dp", 1, Kind::AllReduce));
    // The transport saw rank 1 alone; what ranks 2 and 3 do is known from what they entered.
    let facts = Facts {
        posted: HashMap::from([(1, barrier)]),
        entered: HashMap::from([(1, barrier), (2, all_reduce), (3, all_reduce)]),
        ..Facts::default()
    };
    let backend = Scripted::with(vec![vec![Err(Fault::Disagree)]], facts);
    let world = world(&backend);
    let group = world.open("dp", &[0, 1, 2, 3]).unwrap();
    let request = Request::AllReduce { data: support::floats(&[]), op: megatron_comm::ReduceOp::Sum };
    let failure = support::complete(&group, request).unwrap_err();
    // Rank 0's own operation differs in dtype from the ones entered by 2 and 3: those two are the majority.
    assert_eq!((failure.code, failure.culprits), (Code::Mismatch, vec![0, 1]));
}

#[test]
fn a_rank_that_has_passed_the_operation_does_not_vote() {
    let facts = Facts {
        posted: HashMap::from([(1, operation("dp", 1, Kind::AllReduce))]),
        entered: HashMap::from([(2, operation("dp", 5, Kind::AllReduce)), (3, operation("dp", 1, Kind::Barrier))]),
        ..Facts::default()
    };
    let backend = Scripted::with(vec![vec![Err(Fault::Disagree)]], facts);
    let world = world(&backend);
    let failure = support::complete(&world.open("dp", &[0, 1, 2, 3]).unwrap(), Request::Barrier).unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::Mismatch, vec![1]));
}

#[test]
fn a_disagreement_whose_other_side_stays_unknown_ends_all_the_same() {
    let failure = outcome(&Scripted::new(vec![vec![Err(Fault::Disagree)]])).unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::Mismatch, vec![0, 1]));
    let sentence = "collective mismatch on group dp: rank 0 called barrier#1 (step 7) and others did not. The ranks disagree on the order \
                    of collectives.";
    assert_eq!(failure.message, sentence);
}

#[test]
fn nothing_in_flight_is_delivered_after_a_transport_error() {
    // The library says that the barriers have ended well as soon as the receive has broken.
    let facts = Facts { lies: true, ..Facts::default() };
    let backend = Scripted::with(vec![vec![], vec![], vec![Err(Fault::Broken("the wire says so.".into()))]], facts);
    let world = World::over("job", backend.clone(), 0, WORLD, Settings::new(2));
    let group = world.open("dp", &[0, 1]).unwrap();
    let barriers = [1, 2].map(|_| group.submit(Request::Barrier, Label::EMPTY).unwrap());
    let receives = || Request::Exchange { sends: vec![], receives: vec![(1, support::floats(&[0.0; 3]))], kind: Kind::Receive };
    let waits = group.submit(receives(), Label::EMPTY).unwrap();
    let breaks = group.submit(receives(), Label::EMPTY).unwrap();
    let failure = breaks.wait(None).unwrap_err();
    assert_eq!(failure.message, "rank 0 gave up in recv#2 f32[3] on group dp: the wire says so.");
    for work in barriers.iter().chain([&waits]) {
        assert_eq!(work.wait(None), Err(failure.clone()));
    }
}

#[test]
fn a_rank_tells_the_others_what_its_program_waits_for_until_it_goes_on() {
    let backend = Scripted::new(vec![vec![], (0..200).map(|_| Ok(Step::Waiting)).chain([Ok(Step::Done)]).collect()]);
    let world = World::over("job", backend.clone(), 0, WORLD, Settings { spins: 0, yields: 0, ..Settings::new(2) });
    let group = world.open("dp", &[0, 1]).unwrap();
    let receive = || Request::Exchange { sends: vec![], receives: vec![(1, support::floats(&[0.0]))], kind: Kind::Receive };
    // Outstanding, but nobody waits for it.
    let prefetch = group.submit(receive(), Label::EMPTY).unwrap();
    let told = std::thread::scope(|scope| {
        let work = group.submit(receive(), Label::EMPTY).unwrap();
        let waiter = scope.spawn(move || work.wait(None));
        let mut told = None;
        while !waiter.is_finished() {
            told = told.or(*backend.told.lock().unwrap());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(waiter.join().unwrap(), Ok(()));
        told.unwrap()
    });
    assert_eq!((told.operation.sequence, told.rank), (2, 1));
    assert_eq!(*backend.told.lock().unwrap(), None);
    drop(prefetch);
}

#[test]
fn a_rank_that_has_gone_on_is_blamed_only_when_no_other_is_odd() {
    let ahead = operation("dp", 2, Kind::Broadcast);
    let outcome = |posted: HashMap<usize, Descriptor>| {
        let backend = Scripted::with(vec![vec![Err(Fault::Disagree)]], Facts { posted, ..Facts::default() });
        let world = world(&backend);
        let group = world.open("dp", &[0, 1, 2]).unwrap();
        support::complete(&group, Request::Barrier).unwrap_err().culprits
    };
    assert_eq!(outcome(HashMap::from([(1, ahead), (2, operation("dp", 1, Kind::AllReduce))])), [2]);
    assert_eq!(outcome(HashMap::from([(1, ahead), (2, operation("dp", 1, Kind::Barrier))])), [1]);
}
