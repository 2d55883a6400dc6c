//! Messages: each direction between two ranks has a communicator and a queue of its own, so that no message waits for one of another rank or
//! of the other direction. A few words go ahead on the host: they tell that the sender has come, what it sends, and first of all NCCL's id.

use super::Shared;
use super::link::{ID_WORDS, Link, broken};
use super::plan::{Load, Plan, UnderWay};
use super::pulse::Beat;
use super::trouble::Trouble;
use crate::backend::{GroupSpec, Transport};
use crate::descriptor::{Descriptor, Signature};
use crate::device_request::{Asked, DeviceRequest};
use crate::group::lock;
use crate::operation::{Fault, Operation, Step, Unexpected};
use crate::request::Request;
use crate::solo::copy_span;
use cuda::Stream;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use storage::{DType, Span};

/// The signature, the number and the id.
const WORDS: usize = 3 + ID_WORDS;

/// Messages from one rank to another.
struct Edge {
    link: Link,
    posted: u64,
    /// Those that NCCL has taken, or that needed nothing of it.
    over: u64,
}

/// What the messages of one group share.
pub(super) struct Edges {
    shared: Arc<Shared>,
    spec: Arc<GroupSpec>,
    /// By peer and direction, made when first used.
    made: HashMap<(usize, bool), Arc<Mutex<Edge>>>,
}

impl Edges {
    pub fn new(shared: &Arc<Shared>, spec: &Arc<GroupSpec>) -> Edges {
        Edges { shared: Arc::clone(shared), spec: Arc::clone(spec), made: HashMap::new() }
    }

    fn get(&mut self, peer: usize, is_send: bool) -> Arc<Mutex<Edge>> {
        let (shared, spec) = (&self.shared, &self.spec);
        let make = || {
            let (from, to) = if is_send { (spec.rank, peer) } else { (peer, spec.rank) };
            let name = format!("{} (messages from rank {} to {})", spec.name, spec.ranks[from], spec.ranks[to]);
            let link = Link::new(shared, name, (usize::from(!is_send), 2));
            Arc::new(Mutex::new(Edge { link, posted: 0, over: 0 }))
        };
        Arc::clone(self.made.entry((peer, is_send)).or_insert_with(make))
    }
}

/// One message, sent or received.
struct Transfer {
    peer: usize,
    is_send: bool,
    turn: u64,
    load: Load,
    message: Descriptor,
    edge: Arc<Mutex<Edge>>,
    told: Span,
    stage: Stage,
    /// The words under way.
    words: Option<Box<dyn Operation>>,
    trouble: Trouble,
}

enum Stage {
    /// Its turn has not come, or the words have not.
    Before,
    Moving(UnderWay),
    Over,
}

/// Messages that were posted together.
pub(super) struct Messages {
    shared: Arc<Shared>,
    /// From this rank to itself.
    own: Vec<(Load, Load)>,
    /// Where the memory is that of the device.
    asked: Option<Arc<DeviceRequest>>,
    transfers: Vec<Transfer>,
    /// What kept them from beginning.
    fault: Option<Fault>,
    beat: Option<Beat>,
}

/// What is sent, and what is received.
fn loads<M: Clone>(request: &Request<M>, load: fn(M) -> Load) -> [Vec<(usize, Load)>; 2] {
    let all = |list: &[(usize, M)]| list.iter().map(|(peer, data)| (*peer, load(data.clone()))).collect();
    match request {
        Request::Exchange { sends, receives, .. } => [all(sends), all(receives)],
        _ => Default::default(),
    }
}

/// Copies what this rank sends to itself.
fn keep(source: &Load, target: &Load) -> Result<(), Fault> {
    match (source, target) {
        (Load::OnHost(source), Load::OnHost(target)) => copy_span(source, target),
        (Load::OnDevice(source), Load::OnDevice(target)) => target.copy_from(Stream::Compute, source).map_err(broken)?,
        _ => {}
    }
    Ok(())
}

impl Messages {
    /// Takes the messages' turns, and sends the words.
    pub fn new(edges: &mut Edges, base: &mut dyn Transport, descriptor: Descriptor, asked: &Asked) -> Messages {
        let rank = edges.spec.rank;
        let ([sends, receives], asked) = match asked {
            Asked::OnHost(request) => (loads(request, Load::OnHost), None),
            Asked::OnDevice(asked) => (loads(&asked.request, Load::OnDevice), Some(Arc::clone(asked))),
        };
        let own = |list: &[(usize, Load)]| list.iter().filter(|pair| pair.0 == rank).map(|pair| pair.1.clone()).collect::<Vec<_>>();
        let own = own(&sends).into_iter().zip(own(&receives)).collect();
        let mut made = Messages { shared: Arc::clone(&edges.shared), own, asked, transfers: Vec::new(), fault: None, beat: None };
        let all = sends.iter().map(|pair| (true, pair)).chain(receives.iter().map(|pair| (false, pair)));
        for (is_send, (peer, load)) in all.filter(|(_, pair)| pair.0 != rank) {
            match Transfer::new(edges, base, descriptor, (*peer, is_send, load)) {
                Ok(transfer) => made.transfers.push(transfer),
                Err(fault) => made.fault = made.fault.or(Some(fault)),
            }
        }
        made
    }
}

impl Transfer {
    fn new(edges: &mut Edges, base: &mut dyn Transport, descriptor: Descriptor, what: (usize, bool, &Load)) -> Result<Transfer, Fault> {
        let (peer, is_send, load) = what;
        let edge = edges.get(peer, is_send);
        let signature = Signature { on_device: load.is_on_device(), ..Signature::of_message(load.dtype(), load.len()) };
        let message = Descriptor { signature, ..descriptor };
        let mut held = lock(&edge);
        let turn = held.posted;
        held.posted += 1;
        let mut told = [0; WORDS];
        if is_send {
            let [first, second] = message.signature.pack();
            told[..3].copy_from_slice(&[first as i64, second as i64, message.sequence as i64]);
            if turn == 0 {
                let id = held.link.id()?;
                told[3..].copy_from_slice(&id);
                held.link.join(&id);
            }
        }
        drop(held);
        let told = Span::from_slice(DType::I64, &told).map_err(Fault::Broken)?;
        let (mut sends, mut receives) = (Vec::new(), Vec::new());
        if is_send { &mut sends } else { &mut receives }.push((peer, told.clone()));
        let words = base.start(descriptor, &Arc::new(Request::Exchange { sends, receives, kind: descriptor.signature.kind }));
        let (stage, trouble) = (Stage::Before, Trouble::default());
        Ok(Transfer { peer, is_send, turn, load: load.clone(), message, edge, told, stage, words: Some(words), trouble })
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over) && self.words.is_none()
    }

    /// Whether the device has been asked for it.
    fn is_issued(&self) -> bool {
        match &self.stage {
            Stage::Before => false,
            Stage::Moving(under_way) => under_way.mark().is_some(),
            Stage::Over => true,
        }
    }

    /// Goes on if it can; returns whether anything moved.
    fn advance(&mut self, shared: &Shared, asked: Option<&DeviceRequest>) -> Result<bool, Fault> {
        let mut has_moved = false;
        if let Some(words) = &mut self.words {
            match words.poll()? {
                Step::Done => {
                    self.words = None;
                    self.read()?;
                    has_moved = true;
                }
                step => has_moved |= step == Step::Moved,
            }
        }
        has_moved |= match &mut self.stage {
            Stage::Before => self.begin(shared, asked)?,
            Stage::Moving(under_way) => {
                let was_taken = under_way.mark().is_some();
                let is_done = match under_way.poll() {
                    Ok(is_done) => is_done,
                    Err(error) => return self.trouble.tell(error).map(|_| false),
                };
                if let Some(mark) = under_way.mark().filter(|_| !was_taken) {
                    lock(&self.edge).over += 1;
                    asked.iter().for_each(|asked| asked.ends_at(mark));
                }
                if is_done {
                    self.stage = Stage::Over;
                }
                is_done
            }
            Stage::Over => false,
        };
        Ok(has_moved)
    }

    /// What the sender has told.
    fn read(&self) -> Result<(), Fault> {
        if self.is_send {
            return Ok(());
        }
        let told = self.told.slice::<i64>().map_err(Fault::Broken)?;
        let signature = Signature::unpack([told[0] as u64, told[1] as u64]);
        if signature != Some(self.message.signature) {
            let signature = signature.unwrap_or(self.message.signature);
            let theirs = Descriptor { sequence: told[2] as u64, signature, ..self.message };
            return Err(Fault::Unexpected(Box::new(Unexpected { peer: self.peer, theirs, expected: self.message })));
        }
        if self.turn == 0 {
            lock(&self.edge).link.join(&told[3..]);
        }
        Ok(())
    }

    /// Asks the device for it, when its turn has come; what is received only when the sender has come.
    fn begin(&mut self, shared: &Shared, asked: Option<&DeviceRequest>) -> Result<bool, Fault> {
        let mut edge = lock(&self.edge);
        if edge.over != self.turn || (!self.is_send && self.words.is_some()) {
            return Ok(false);
        }
        edge.link.fault()?;
        let way = match edge.link.poll() {
            Ok(Some(way)) => way,
            Ok(None) => return Ok(false),
            Err(error) => return self.trouble.tell(error).map(|_| false),
        };
        let plan = Plan::of_message(&shared.device, &self.load, self.is_send).map_err(broken)?;
        self.stage = match plan.begin(&way, asked.map(|asked| &asked.ready)).map_err(broken)? {
            Some(under_way) => Stage::Moving(under_way),
            None => {
                edge.over += 1;
                Stage::Over
            }
        };
        Ok(true)
    }
}

impl Operation for Messages {
    fn poll(&mut self) -> Result<Step, Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        self.own.drain(..).try_for_each(|(source, target)| keep(&source, &target))?;
        let mut has_moved = false;
        for transfer in self.transfers.iter_mut().filter(|transfer| !transfer.is_over()) {
            has_moved |= transfer.advance(&self.shared, self.asked.as_deref())?;
        }
        if let Some(asked) = self.asked.take_if(|_| self.transfers.iter().all(Transfer::is_issued)) {
            asked.issued();
        }
        if self.transfers.iter().all(Transfer::is_over) {
            self.beat = None;
            return Ok(Step::Done);
        }
        // Words ring by themselves; devices do not.
        let is_moving = |transfer: &Transfer| matches!(transfer.stage, Stage::Moving(_)) || (transfer.is_send && transfer.words.is_none());
        match self.transfers.iter().any(is_moving) {
            true => _ = self.beat.get_or_insert_with(|| self.shared.pulse.begin()),
            false => self.beat = None,
        }
        Ok(if has_moved { Step::Moved } else { Step::Waiting })
    }

    fn missing(&self) -> Vec<usize> {
        let open = self.transfers.iter().filter(|transfer| !transfer.is_over());
        let mut peers: Vec<usize> = open.map(|transfer| transfer.peer).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    fn posted(&self, _member: usize) -> Option<Descriptor> {
        None
    }
}
