//! The ways between this rank and the others of its group, for one purpose.

use super::header::{HEADER, Header};
use super::memory::{Block, piece_of};
use super::{LONGEST_MESSAGE, Piece, Token, Wire};
use crate::backend::GroupSpec;
use crate::descriptor::GroupName;
use crate::operation::Fault;
use std::sync::Arc;

/// A message that began with a header.
pub struct Arrived {
    pub header: Header,
    frame: Arc<Block>,
}

impl Arrived {
    /// The data that came with the header.
    pub fn payload(&self) -> *const u8 {
        self.frame.at(HEADER)
    }
}

/// What comes from one member: at most one header at a time is looked out for.
#[derive(Default)]
struct Inlet {
    pending: Option<(Token, Arc<Block>)>,
    arrived: Option<Arrived>,
}

pub struct Link {
    wire: Arc<dyn Wire>,
    pub spec: Arc<GroupSpec>,
    group: GroupName,
    purpose: String,
    tag: Option<u32>,
    /// Up to so many bytes ride with the header.
    inline: usize,
    inlets: Vec<Inlet>,
    /// Memory of headers and what rides with them, used again and again.
    frames: Vec<Arc<Block>>,
    /// Where the search for an unused frame begins.
    next_frame: usize,
}

impl Link {
    pub fn new(wire: Arc<dyn Wire>, spec: Arc<GroupSpec>, purpose: &str, inline: usize) -> Self {
        let purpose = format!("{}\n{:?}\n{}\n{purpose}", spec.name, spec.ranks, spec.instance);
        let inlets = spec.ranks.iter().map(|_| Inlet::default()).collect();
        let group = GroupName::new(&spec.name);
        Self { wire, spec, group, purpose, tag: None, inline, inlets, frames: Vec::new(), next_frame: 0 }
    }

    /// Whether messages may be sent; false while the ranks agree upon a tag.
    pub fn connect(&mut self) -> Result<bool, Fault> {
        if self.tag.is_none() {
            self.tag = self.wire.tag(&self.purpose)?;
        }
        Ok(self.tag.is_some())
    }

    pub fn wire(&self) -> &Arc<dyn Wire> {
        &self.wire
    }

    pub fn size(&self) -> usize {
        self.spec.ranks.len()
    }

    pub fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let me = self.spec.rank;
        (0..self.spec.ranks.len()).filter(move |&member| member != me)
    }

    /// Whether a message of so many bytes rides with its header.
    pub fn is_inline(&self, length: usize) -> bool {
        length <= self.inline
    }

    fn tag(&self) -> Result<u32, Fault> {
        self.tag.ok_or_else(|| Fault::Broken("a message was to be sent before the ranks had agreed upon its tag. Please report it.".into()))
    }

    fn frame(&mut self) -> Result<Arc<Block>, Fault> {
        let count = self.frames.len();
        for index in (0..count).map(|step| (self.next_frame + step) % count) {
            if Arc::get_mut(&mut self.frames[index]).is_some() {
                self.next_frame = (index + 1) % count;
                return Ok(Arc::clone(&self.frames[index]));
            }
        }
        let frame = Block::new(HEADER + self.inline)?;
        self.frames.push(Arc::clone(&frame));
        Ok(frame)
    }

    /// Sends a header, with the data when that is short.
    pub fn send_header(&mut self, member: usize, header: &Header, data: &Piece) -> Result<Token, Fault> {
        let frame = self.frame()?;
        let payload = if self.is_inline(data.length) { data.length } else { 0 };
        // SAFETY: the frame has room for a header and data that rides along, and nobody else uses it; the sender holds the data.
        unsafe {
            std::ptr::copy_nonoverlapping(header.write().as_ptr(), frame.at(0), HEADER);
            std::ptr::copy_nonoverlapping(data.bytes.cast_const(), frame.at(HEADER), payload);
        }
        self.send(member, piece_of(&frame, 0..HEADER + payload))
    }

    /// Sends bare data, of at most `LONGEST_MESSAGE` bytes.
    pub fn send(&self, member: usize, piece: Piece) -> Result<Token, Fault> {
        self.wire.send(self.spec.ranks[member], self.tag()?, piece)
    }

    /// Receives bare data, of at most `LONGEST_MESSAGE` bytes.
    pub fn receive(&self, member: usize, piece: Piece) -> Result<Token, Fault> {
        self.wire.receive(self.spec.ranks[member], self.tag()?, piece)
    }

    /// The next header from `member`, if it has arrived. Only where no bare data is to come before it.
    pub fn look(&mut self, member: usize) -> Result<Option<Header>, Fault> {
        if self.inlets[member].arrived.is_none() {
            self.look_out(member)?;
        }
        Ok(self.inlets[member].arrived.as_ref().map(|arrived| arrived.header))
    }

    fn look_out(&mut self, member: usize) -> Result<(), Fault> {
        if self.inlets[member].pending.is_none() {
            let frame = self.frame()?;
            let length = frame.len().min(HEADER + self.inline);
            let token = self.receive(member, piece_of(&frame, 0..length))?;
            self.inlets[member].pending = Some((token, frame));
        }
        let Some((token, _)) = &self.inlets[member].pending else { return Ok(()) };
        let Some(length) = self.wire.test(*token)? else { return Ok(()) };
        let Some((_, frame)) = self.inlets[member].pending.take() else { return Ok(()) };
        let header = if length < HEADER {
            None
        } else {
            // SAFETY: the message has ended and filled the header's bytes of the frame.
            Header::read(unsafe { &*frame.at(0).cast::<[u8; HEADER]>() }, self.group)
        };
        let ridden = |header: &Header| if header.length <= self.inline as u64 { header.length as usize } else { 0 };
        match header.filter(|header| length == HEADER + ridden(header)) {
            Some(header) => self.inlets[member].arrived = Some(Arrived { header, frame }),
            None => {
                let rank = self.spec.ranks[member];
                let message = format!("a message of {length} bytes from rank {rank} is not what operations begin with. Use one version.");
                return Err(Fault::Broken(message));
            }
        }
        Ok(())
    }

    /// Takes what `look` has shown.
    pub fn take(&mut self, member: usize) -> Option<Arrived> {
        self.inlets[member].arrived.take()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let pending = self.inlets.iter().filter_map(|inlet| inlet.pending.as_ref());
        pending.for_each(|(token, _)| self.wire.abandon(*token));
    }
}

/// The messages that bare data of one kind is cut into.
pub fn cuts(piece: &Piece) -> impl Iterator<Item = Piece> + use<> {
    let piece = piece.clone();
    let count = piece.length.div_ceil(LONGEST_MESSAGE);
    (0..count).map(move |index| piece.part(crate::chunks::chunk_of(piece.length, LONGEST_MESSAGE, index)))
}
