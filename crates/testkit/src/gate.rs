//! A gate that holds a reply until a test opens it.

use tokio::sync::watch;

/// Holds every reply that waits at it until it is opened, once and for all. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_open: bool,
    waiting: usize,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self { state: watch::Sender::new(State::default()) }
    }

    /// Lets everyone through, now and later.
    pub fn open(&self) {
        self.state.send_modify(|state| state.is_open = true);
    }

    /// Waits until `count` replies have come to the closed gate.
    pub async fn reached_by(&self, count: usize) {
        let mut changes = self.state.subscribe();
        // The sender is `self`: it cannot go while this waits.
        let _ = changes.wait_for(|state| state.waiting >= count).await;
    }

    /// Waits until the gate is open.
    pub(crate) async fn pass(&self) {
        let mut changes = self.state.subscribe();
        self.state.send_modify(|state| state.waiting += 1);
        let _ = changes.wait_for(|state| state.is_open).await;
    }
}
