//! What the machine that is played looks like.

/// Everything that a test may choose.
#[derive(Clone)]
pub struct Settings {
    /// Devices that there are.
    pub devices: i32,
    /// What `cuDriverGetVersion` answers.
    pub driver: i32,
    /// Bytes of each device.
    pub memory: usize,
    /// Compute capability, ten times the major and the minor.
    pub capability: i32,
    /// The launch (from 1) that damages the context; 0 for none.
    pub sticky_at_launch: usize,
    /// The function that fails, with which status, after how many calls that do not.
    pub failing: Option<(String, u32, usize)>,
    /// What `nvrtcVersion` answers, 1000 times the major and ten times the minor.
    pub nvrtc: i32,
    /// What the version functions of cuBLASLt and cuBLAS answer.
    pub cublas: i32,
    /// What that of cuDNN answers.
    pub cudnn: i32,
    /// What that of NCCL answers.
    pub nccl: i32,
    /// How many algorithms cuBLASLt knows for a product.
    pub proposals: i32,
    /// Milliseconds between timed events, in turn; 1 when they are used up.
    pub elapsed: Vec<f32>,
    /// Where functions of NCCL fail: this rank alone; None for all.
    pub failing_rank: Option<i32>,
    /// A rank that NCCL tells of an error, and which.
    pub async_error: Option<(i32, u32)>,
    /// Whether collectives never end.
    pub hangs: bool,
    /// Whether NCCL has no words of its own about an error.
    pub is_silent: bool,
    /// Where kernels that run on the host are kept; empty where they are only written down.
    pub run: String,
    /// Whether the arguments of launches are written down.
    pub tells_arguments: bool,
    /// Whether streams go on only when somebody asks for what is in them.
    pub is_lazy: bool,
    /// The same, and who does not wait finds nothing done.
    pub is_busy: bool,
    /// How often NCCL is asked before it has taken what was asked of a communicator that does not block.
    pub deferral: usize,
    /// Where ranks of several processes meet in NCCL; empty where all of them are in this one.
    pub meet: String,
    /// Whether NCCL combines as a ring does: from another rank on for each part, rounding at each step.
    pub is_ring: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            devices: 1,
            driver: 13000,
            memory: 64 << 20,
            capability: 90,
            sticky_at_launch: 0,
            failing: None,
            nvrtc: 13000,
            cublas: 130100,
            cudnn: 91900,
            nccl: 22809,
            proposals: 3,
            elapsed: Vec::new(),
            failing_rank: None,
            async_error: None,
            hangs: false,
            is_silent: false,
            run: String::new(),
            tells_arguments: false,
            is_lazy: false,
            is_busy: false,
            deferral: 0,
            meet: String::new(),
            is_ring: false,
        }
    }
}

impl Settings {
    /// Takes one word, `name=value`; None when it means nothing.
    pub fn set(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once('=')?;
        match name {
            "devices" => self.devices = value.parse().ok()?,
            "driver" => self.driver = value.parse().ok()?,
            "memory" => self.memory = value.parse().ok()?,
            "capability" => self.capability = value.parse().ok()?,
            "sticky_at_launch" => self.sticky_at_launch = value.parse().ok()?,
            "nvrtc" => self.nvrtc = value.parse().ok()?,
            "cublas" => self.cublas = value.parse().ok()?,
            "cudnn" => self.cudnn = value.parse().ok()?,
            "nccl" => self.nccl = value.parse().ok()?,
            "proposals" => self.proposals = value.parse().ok()?,
            "elapsed" => self.elapsed = value.split(',').map(|time| time.parse().ok()).collect::<Option<_>>()?,
            "fail_rank" => self.failing_rank = Some(value.parse().ok()?),
            "async" => {
                let (rank, status) = value.split_once(':')?;
                self.async_error = Some((rank.parse().ok()?, status.parse().ok()?));
            }
            "hang" => self.hangs = value == "1",
            "silent" => self.is_silent = value == "1",
            "arguments" => self.tells_arguments = value == "1",
            "run" => self.run = value.to_owned(),
            "lazy" => self.is_lazy = value == "1",
            "busy" => self.is_busy = value == "1",
            "defer" => self.deferral = value.parse().ok()?,
            "meet" => self.meet = value.to_owned(),
            "ring" => self.is_ring = value == "1",
            "fail" => {
                let [function, status, after] = value.splitn(3, ':').collect::<Vec<_>>().try_into().ok()?;
                self.failing = Some((function.to_owned(), status.parse().ok()?, after.parse().ok()?));
            }
            _ => return None,
        }
        Some(())
    }

    /// The defaults, changed by what `MEGATRON_FAKE_CUDA` says.
    pub fn of_process() -> Settings {
        let mut settings = Settings::default();
        let words = std::env::var("MEGATRON_FAKE_CUDA").unwrap_or_default();
        for word in words.split_whitespace() {
            if settings.set(word).is_none() {
                eprintln!("MEGATRON_FAKE_CUDA: {word} means nothing.");
            }
        }
        settings
    }
}
