//! What the members of a group have said they are about.

use crate::descriptor::Descriptor;
use crate::operation::Fault;

/// How many of its own operations a rank remembers.
const MEMORY: usize = 64;

pub struct Ledger {
    /// Sequence and signature of this rank's last operations, by sequence.
    own: [[u64; 3]; MEMORY],
    /// What each member said last.
    said: Vec<Option<Descriptor>>,
    /// Whoever is about something else.
    dissenter: Option<usize>,
}

fn words(descriptor: &Descriptor) -> [u64; 3] {
    let [first, second] = descriptor.signature.pack();
    [descriptor.sequence, first, second]
}

impl Ledger {
    pub fn new(size: usize) -> Self {
        Self { own: [[0; 3]; MEMORY], said: vec![None; size], dissenter: None }
    }

    /// Notes what this rank is about to do.
    pub fn begin(&mut self, descriptor: &Descriptor) {
        self.own[descriptor.sequence as usize % MEMORY] = words(descriptor);
    }

    /// What `member` is about, when this rank is in `own`: an error when the two cannot both be right. Data is something that this rank
    /// either needs now or has not come to; a notice may be about what this rank has ended.
    pub fn hear(&mut self, member: usize, theirs: Descriptor, own: &Descriptor, is_data: bool) -> Result<(), Fault> {
        self.said[member] = Some(theirs);
        let agrees = if theirs.sequence > own.sequence {
            true
        } else if is_data && theirs.sequence < own.sequence {
            false
        } else {
            let known = self.own[theirs.sequence as usize % MEMORY];
            known[0] != theirs.sequence || known == words(&theirs)
        };
        if agrees {
            return Ok(());
        }
        self.dissenter = Some(member);
        Err(Fault::Disagree)
    }

    /// The header that this operation needs from `member`.
    pub fn expect(&mut self, member: usize, theirs: Descriptor, own: &Descriptor) -> Result<(), Fault> {
        if words(&theirs) != words(own) {
            self.said[member] = Some(theirs);
            self.dissenter = Some(member);
            return Err(Fault::Disagree);
        }
        self.said[member] = Some(theirs);
        Ok(())
    }

    /// What `member` has posted as the operation `own`.
    pub fn posted(&self, member: usize, own: &Descriptor) -> Option<Descriptor> {
        self.said[member].filter(|said| said.sequence == own.sequence || self.dissenter == Some(member))
    }
}
