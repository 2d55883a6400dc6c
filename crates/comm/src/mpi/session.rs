//! MPI after its start, as the wire uses it. All of this runs on the one thread that started MPI.

use super::abi::{Abi, Constants, Functions, Handle, MPICH, STANDARD, open_mpi};
use super::library::{Launcher, Opened, REMEDY, VARIABLE};
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// More than any MPI writes as an error or a version.
const TEXT: usize = 8192;
/// MPI_UNDEFINED in all three interfaces.
const UNDEFINED: c_int = -32766;
/// How long receives may take to be cancelled.
const CANCEL: Duration = Duration::from_millis(200);
/// Tags that every MPI has.
const LEAST_TAG: u32 = 32767;

/// What became of a message.
pub struct Ended {
    /// As it was called when it was started.
    pub name: usize,
    /// Bytes received (of no meaning for sends), or MPI's words about what went wrong.
    pub outcome: Result<usize, String>,
}

/// Messages over a communicator of all ranks. Errors are MPI's words.
pub trait Messages: Send {
    /// Starts to send `length` bytes, which the caller holds until the message has ended. `name` comes back then.
    ///
    /// # Safety
    /// The memory is valid for reads until then.
    unsafe fn send(&mut self, name: usize, peer: u32, tag: u32, bytes: *const u8, length: usize) -> Result<(), String>;

    /// Starts to receive at most `length` bytes.
    ///
    /// # Safety
    /// The memory is valid for writes, and nobody else touches it, until the message has ended.
    unsafe fn receive(&mut self, name: usize, peer: u32, tag: u32, bytes: *mut u8, length: usize) -> Result<(), String>;

    /// Lets MPI work, and adds the messages that have ended.
    fn progress(&mut self, ended: &mut Vec<Ended>) -> Result<(), String>;

    /// The largest tag.
    fn last_tag(&self) -> u32;

    /// Ends MPI; may wait for the other ranks.
    fn finalize(&mut self);
}

/// What MPI says about this process.
pub struct Started {
    pub rank: u32,
    pub size: u32,
    /// The first line of the library's description of itself.
    pub version: String,
    /// Whether threads may call it in turn, not the one that started it alone.
    pub is_serialized: bool,
    pub messages: Box<dyn Messages>,
}

/// Starts MPI through `opened`. The error is a sentence without the place. The communicator is waited for until `deadline`.
pub fn start(opened: &Opened, launcher: Launcher, deadline: Instant) -> Result<Started, String> {
    let incomplete = |symbol: &'static str| format!("{} has no {symbol}. Point {VARIABLE} to a library of MPI 3 or newer.", opened.path);
    match opened.abi {
        Abi::Standard => Session::start(Functions::<usize>::find(opened.library).map_err(incomplete)?, STANDARD, launcher, deadline),
        Abi::Mpich => Session::start(Functions::<c_int>::find(opened.library).map_err(incomplete)?, MPICH, launcher, deadline),
        Abi::OpenMpi => {
            let constants = open_mpi(opened.library).map_err(incomplete)?;
            Session::start(Functions::<usize>::find(opened.library).map_err(incomplete)?, constants, launcher, deadline)
        }
    }
}

struct Session<H> {
    functions: Functions<H>,
    constants: Constants<H>,
    comm: H,
    last_tag: u32,
    /// Under way.
    requests: Vec<H>,
    /// Their names.
    names: Vec<usize>,
    /// Whether they are receives.
    receives: Vec<bool>,
    /// Room for what MPI answers about `requests`.
    indices: Vec<c_int>,
    statuses: Vec<u64>,
}

/// The first line of the text that `write` leaves in a buffer.
fn text(write: impl FnOnce(*mut c_char, *mut c_int) -> c_int) -> String {
    let (mut bytes, mut length) = (vec![0u8; TEXT], 0);
    write(bytes.as_mut_ptr().cast(), &mut length);
    bytes.truncate(usize::try_from(length).unwrap_or(0).min(TEXT));
    let text = String::from_utf8_lossy(&bytes);
    let line = text.split(['\n', '\0']).find(|line| !line.trim().is_empty()).unwrap_or("no description");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl<H: Handle> Session<H> {
    fn start(functions: Functions<H>, constants: Constants<H>, launcher: Launcher, deadline: Instant) -> Result<Started, String> {
        let (mut already, mut provided, mut rank, mut size) = (0, 0, 0, 0);
        // SAFETY: may be called at any time; writes at most `TEXT` bytes.
        let version = text(|bytes, length| unsafe { (functions.library_version)(bytes, length) });
        // Another MPI would end the process here, with words of its own.
        if launcher == Launcher::OpenMpi && !version.contains("Open MPI") {
            let sentence = format!("this is {version}, and the ranks were started by {}. {REMEDY}", launcher.name());
            return Err(sentence);
        }
        // SAFETY: may be called at any time.
        unsafe { (functions.initialized)(&mut already) };
        if already != 0 {
            return Err("MPI was started in this process before, and it starts only once. Join one world of MPI in each process.".into());
        }
        // SAFETY: the first call to MPI; both argument pointers may be null.
        let code =
            unsafe { (functions.init_thread)(std::ptr::null_mut(), std::ptr::null_mut(), constants.thread_serialized, &mut provided) };
        if code != 0 {
            return Err(format!("MPI_Init_thread failed with code {code}. Look at what MPI has printed."));
        }
        if provided < constants.thread_funneled {
            return Err("this MPI was built without threads. Install one with MPI_THREAD_FUNNELED.".into());
        }
        let session = |comm, last_tag| Self {
            functions,
            constants,
            comm,
            last_tag,
            requests: Vec::new(),
            names: Vec::new(),
            receives: Vec::new(),
            indices: Vec::new(),
            statuses: Vec::new(),
        };
        let mut this = session(constants.comm_world, LEAST_TAG);
        for comm in [constants.comm_world, constants.comm_self] {
            // SAFETY: MPI is up, these are its predefined handles.
            this.check("MPI_Comm_set_errhandler", unsafe { (functions.set_error_handler)(comm, constants.errors_return) })?;
        }
        // SAFETY: as above.
        this.check("MPI_Comm_rank", unsafe { (functions.rank)(constants.comm_world, &mut rank) })?;
        // SAFETY: as above.
        this.check("MPI_Comm_size", unsafe { (functions.size)(constants.comm_world, &mut size) })?;
        let last_tag = this.ask_last_tag();
        let comm = this.duplicate(deadline)?;
        let is_serialized = provided >= constants.thread_serialized;
        Ok(Started { rank: rank as u32, size: size as u32, version, is_serialized, messages: Box::new(session(comm, last_tag)) })
    }

    /// MPI's words for `code`, behind what was called.
    fn words(&self, call: &str, code: c_int) -> String {
        // SAFETY: writes at most `TEXT` bytes.
        let words = text(|bytes, length| unsafe { (self.functions.error_string)(code, bytes, length) });
        format!("{call} failed: {words}")
    }

    fn check(&self, call: &str, code: c_int) -> Result<(), String> {
        if code == 0 { Ok(()) } else { Err(self.words(call, code)) }
    }

    fn ask_last_tag(&self) -> u32 {
        let (mut value, mut found) = (std::ptr::null::<c_int>(), 0);
        let place: *mut *const c_int = &mut value;
        // SAFETY: the attribute is a pointer to an int, and is written where `place` points.
        let code = unsafe { (self.functions.attribute)(self.constants.comm_world, self.constants.tag_ub, place.cast(), &mut found) };
        if code != 0 || found == 0 || value.is_null() {
            return LEAST_TAG;
        }
        // SAFETY: MPI keeps the value as long as the communicator.
        unsafe { *value }.try_into().unwrap_or(LEAST_TAG)
    }

    /// A communicator of our own, so that nobody else's messages are mistaken for ours.
    fn duplicate(&mut self, deadline: Instant) -> Result<H, String> {
        // Never freed: MPI may still write to it after the deadline.
        let comm = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut request = self.constants.request_null;
        // SAFETY: `comm` stays where it is for ever.
        let code = unsafe { (self.functions.duplicate)(self.constants.comm_world, comm.as_mut_ptr(), &mut request) };
        self.check("MPI_Comm_idup", code)?;
        self.track(0, request, false);
        let mut ended = Vec::new();
        loop {
            self.progress(&mut ended)?;
            match ended.pop() {
                Some(Ended { outcome: Err(words), .. }) => return Err(words),
                // SAFETY: the request has ended, so the handle is written.
                Some(_) => return Ok(unsafe { comm.assume_init() }),
                None if Instant::now() > deadline => {
                    return Err("the other ranks did not follow into MPI_Comm_idup. Check that all of them run.".into());
                }
                None => std::thread::sleep(Duration::from_micros(50)),
            }
        }
    }

    fn track(&mut self, name: usize, request: H, is_receive: bool) {
        self.requests.push(request);
        self.names.push(name);
        self.receives.push(is_receive);
    }
}

/// The lengths of messages are C ints.
fn count_of(length: usize) -> Result<c_int, String> {
    c_int::try_from(length).map_err(|_| format!("a message of {length} bytes is longer than MPI takes at once"))
}

impl<H: Handle> Messages for Session<H> {
    unsafe fn send(&mut self, name: usize, peer: u32, tag: u32, bytes: *const u8, length: usize) -> Result<(), String> {
        let (Functions { send, .. }, Constants { byte, mut request_null, .. }) = (self.functions, self.constants);
        let request = &mut request_null;
        // SAFETY: as the caller promises.
        let code = unsafe { send(bytes.cast(), count_of(length)?, byte, peer as c_int, tag as c_int, self.comm, request) };
        self.check("MPI_Isend", code)?;
        self.track(name, request_null, false);
        Ok(())
    }

    unsafe fn receive(&mut self, name: usize, peer: u32, tag: u32, bytes: *mut u8, length: usize) -> Result<(), String> {
        let (Functions { receive, .. }, Constants { byte, mut request_null, .. }) = (self.functions, self.constants);
        let request = &mut request_null;
        // SAFETY: as the caller promises.
        let code = unsafe { receive(bytes.cast(), count_of(length)?, byte, peer as c_int, tag as c_int, self.comm, request) };
        self.check("MPI_Irecv", code)?;
        self.track(name, request_null, true);
        Ok(())
    }

    fn progress(&mut self, ended: &mut Vec<Ended>) -> Result<(), String> {
        let count = self.requests.len();
        if count == 0 {
            return self.work();
        }
        let stride = self.constants.status.bytes;
        self.indices.resize(count, 0);
        self.statuses.resize((count * stride).div_ceil(size_of::<u64>()), 0);
        let statuses = self.statuses.as_mut_ptr().cast::<u8>();
        let mut done = 0;
        // SAFETY: all three lists have room for `count` entries.
        let code = unsafe {
            let requests = self.requests.as_mut_ptr();
            (self.functions.test_some)(count as c_int, requests, &mut done, self.indices.as_mut_ptr(), statuses.cast())
        };
        if done == UNDEFINED || done <= 0 {
            return self.check("MPI_Testsome", code);
        }
        for place in 0..done as usize {
            // SAFETY: MPI has filled the first `done` statuses.
            let status = unsafe { statuses.add(place * stride) };
            let name = self.names[self.indices[place] as usize];
            ended.push(Ended { name, outcome: self.outcome(status, code) });
        }
        self.indices.truncate(done as usize);
        self.indices.sort_unstable();
        while let Some(index) = self.indices.pop() {
            self.requests.swap_remove(index as usize);
            self.names.swap_remove(index as usize);
            self.receives.swap_remove(index as usize);
        }
        Ok(())
    }

    fn last_tag(&self) -> u32 {
        self.last_tag
    }

    fn finalize(&mut self) {
        // What is still looked out for does not come any more, and MPI wants to end without.
        for index in (0..self.requests.len()).filter(|&index| self.receives[index]) {
            // SAFETY: a receive under way; its memory is held until it has ended.
            unsafe { (self.functions.cancel)(&mut self.requests[index]) };
        }
        let deadline = Instant::now() + CANCEL;
        while !self.requests.is_empty() && Instant::now() < deadline && self.progress(&mut Vec::new()).is_ok() {}
        // SAFETY: MPI is up, and nothing calls it afterwards.
        unsafe { (self.functions.finalize)() };
    }
}

impl<H: Handle> Session<H> {
    /// Lets MPI work although nothing is under way here: what it took over for sending may not have left yet.
    fn work(&mut self) -> Result<(), String> {
        let (mut found, mut status) = (0, [0u64; 8]);
        // SAFETY: rank 0 and the tag 0 exist, and the status has room for that of any interface.
        let code = unsafe { (self.functions.probe)(0, 0, self.comm, &mut found, status.as_mut_ptr().cast()) };
        self.check("MPI_Iprobe", code)
    }

    /// What `status` says, after a call that returned `code`.
    fn outcome(&self, status: *const u8, code: c_int) -> Result<usize, String> {
        // SAFETY: a status holds an int there; MPI fills it in when the call has failed.
        let error = unsafe { status.add(self.constants.status.error).cast::<c_int>().read_unaligned() };
        if code != 0 && error != 0 {
            return Err(self.words("the message", error));
        }
        let mut length = 0;
        // SAFETY: a status that MPI has filled.
        unsafe { (self.functions.count)(status.cast(), self.constants.byte, &mut length) };
        Ok(usize::try_from(length).unwrap_or(0))
    }
}
