//! Where a guest puts its response, and what passes between the guest's run and the bodies on both sides of it.

use super::WasiResponse;
use super::respond::discard;
use crate::error::CallError;
use futures::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Context;
use std::time::Instant;
use tokio::sync::Notify;

/// Stands for the status that nobody was told any more.
const CLIENT_LEFT: u16 = 499;

/// One request on its way through a guest.
#[derive(Debug, Default)]
pub struct Slot {
    head: Mutex<Option<Result<WasiResponse, CallError>>>,
    /// Who waits for the head, where the guest runs on another task.
    waiter: AtomicWaker,
    /// Of the response; 0 until there is one.
    status: AtomicU16,
    /// When somebody who waited was told of it.
    told_at: OnceLock<Instant>,
    /// Counted up with each piece of a body that passes, either way.
    moves: AtomicU32,
    /// Whether the guest failed, so that a body that ends now is not whole.
    is_cut: AtomicBool,
    /// Whether the response's body was taken to its end.
    is_taken: AtomicBool,
    /// Bytes that the request's body may have.
    most: AtomicU64,
    /// Whether it had more.
    is_too_large: AtomicBool,
    /// Whether the client is gone.
    is_left: AtomicBool,
    /// Told when nobody takes more of the body, because there is no more or because the client is gone.
    over: Notify,
}

impl Slot {
    /// The guest has chosen its response, or says that it has none.
    pub(super) fn tell(&self, head: Result<WasiResponse, CallError>) {
        if self.is_left.load(Ordering::Acquire) {
            // A guest that lives on writes its body as if somebody took it.
            if let Ok(response) = head {
                let mut body = response.into_body();
                tokio::spawn(async move { discard(&mut body).await });
            }
            self.status.store(CLIENT_LEFT, Ordering::Release);
            return;
        }
        let status = match &head {
            Ok(response) => response.status().as_u16(),
            Err(CallError::Guest { code, .. }) => *code,
            Err(_) => 500,
        };
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
        self.told_at.get_or_init(Instant::now);
        self.status.store(status, Ordering::Release);
        self.note_move();
        self.waiter.wake();
    }

    /// The response, if the guest has chosen it; else its coming wakes who looks.
    pub(super) fn poll_head(&self, context: &Context<'_>) -> Option<Result<WasiResponse, CallError>> {
        self.take_head().or_else(|| {
            self.waiter.register(context.waker());
            self.take_head()
        })
    }

    fn take_head(&self) -> Option<Result<WasiResponse, CallError>> {
        // Most looks come before there is one.
        self.status()?;
        self.head.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The status of the response, once the guest has chosen it.
    pub fn status(&self) -> Option<u16> {
        Some(self.status.load(Ordering::Acquire)).filter(|status| *status != 0)
    }

    /// When the guest had chosen its response, if its client was there to hear it.
    pub fn told_at(&self) -> Option<Instant> {
        self.told_at.get().copied()
    }

    /// Whether the request's body was larger than it may be.
    pub fn is_too_large(&self) -> bool {
        self.is_too_large.load(Ordering::Relaxed)
    }

    /// Bytes that the request's body may have.
    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    pub(super) fn set_most(&self, bytes: u64) {
        self.most.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_too_large(&self) {
        self.is_too_large.store(true, Ordering::Relaxed);
    }

    pub(super) fn note_move(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn moves(&self) -> u32 {
        self.moves.load(Ordering::Relaxed)
    }

    /// Must come before the guest's store is dropped: what is left of the body then ends like one that is whole.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }

    pub(super) fn set_taken(&self) {
        self.is_taken.store(true, Ordering::Release);
        self.over.notify_waiters();
    }

    /// The client is gone.
    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Release);
        self.over.notify_waiters();
    }

    /// Waits until nobody takes more of the body.
    pub(crate) async fn over(&self) {
        let is_over = || self.is_taken() || self.is_left.load(Ordering::Acquire);
        while !is_over() {
            let mut over = std::pin::pin!(self.over.notified());
            over.as_mut().enable();
            if is_over() {
                return;
            }
            over.await;
        }
    }

    pub(super) fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Acquire)
    }
}
