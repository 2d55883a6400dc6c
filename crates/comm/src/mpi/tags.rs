//! Which tag stands for which purpose: agreed upon with the store, beside the thread that polls.

use crate::failure::Error;
use crate::group::lock;
use crate::store::TcpControl;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The tag of messages sent before tags are agreed upon; the store gives numbers from 1.
pub const MEETING: u32 = 0;

type Answers = Mutex<HashMap<String, Option<Result<u32, String>>>>;

pub struct Tags {
    control: Arc<TcpControl>,
    /// None while the store is being asked.
    answers: Arc<Answers>,
    last: u32,
    bell: Arc<dyn Fn() + Send + Sync>,
}

impl Tags {
    /// `last`: the largest tag that MPI takes. `bell` is rung when an answer has come.
    pub fn new(control: Arc<TcpControl>, last: u32, bell: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { control, answers: Arc::default(), last, bell }
    }

    /// The tag for `purpose`; None until the store has answered.
    pub fn get(&self, purpose: &str) -> Result<Option<u32>, String> {
        let mut answers = lock(&self.answers);
        if let Some(answer) = answers.get(purpose) {
            return answer.clone().transpose();
        }
        answers.insert(purpose.to_owned(), None);
        drop(answers);
        self.ask(purpose.to_owned());
        Ok(None)
    }

    fn ask(&self, purpose: String) {
        let (control, answers, last, bell) = (Arc::clone(&self.control), Arc::clone(&self.answers), self.last, Arc::clone(&self.bell));
        let name = purpose.clone();
        let ask = move || {
            let answer = match control.store().intern(&purpose) {
                Ok(tag) if tag > last => Err(format!("this MPI has {last} tags, and all are taken. Open fewer groups.")),
                Ok(tag) => Ok(tag),
                // The loss of rank 0 is reported by whoever watches over it.
                Err(Error::Failed(_)) => return,
                Err(Error::Refused(sentence)) => Err(sentence),
            };
            lock(&answers).insert(purpose, Some(answer));
            bell();
        };
        if let Err(error) = std::thread::Builder::new().name("megatron-tags".into()).spawn(ask) {
            lock(&self.answers).insert(name, Some(Err(format!("no thread can be started: {error}."))));
        }
    }
}
