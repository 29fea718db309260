//! Long work that leaves the shard's executor: plain data goes to another thread, plain data comes back.
//!
//! The thread has a disk handle of its own, and nothing else of the shard: its inputs are files that do not change, its
//! outputs files with names of their own.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::io::Disk;
use crate::rt::background::Background;
use crate::rt::disk::RealDisk;
use crate::rt::pace::Slice;
use crate::rt::preflight::DataPlace;
use crate::storage::blocks::Origin;
use crate::storage::cutting::{self, CutBlock};
use crate::storage::head::cut_plan::CutPlan;

/// How long a job holds its thread before another one gets it: nobody else waits there.
const SLICE: Duration = Duration::from_millis(5);

/// Something to be done.
pub enum Job {
    /// The block of a cut is to be written.
    Cut(Origin, CutPlan),
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// Of [`Job::Cut`].
    Cut(CutBlock),
}

/// Where jobs are done. Clones are the same place.
#[derive(Clone)]
pub struct Workbench(Rc<dyn Fn(Job) -> Working>);

type Working = Pin<Box<dyn Future<Output = Result<Done, String>>>>;

impl Workbench {
    /// A shard's background thread, for the data directory at `place`.
    #[must_use]
    pub fn on(background: Background, place: DataPlace) -> Self {
        Self(Rc::new(move |job| {
            let (background, place) = (background.clone(), place.clone());
            Box::pin(async move {
                let working = background.run(move || async move {
                    let disk = RealDisk::mount(&place).await.map_err(|error| error.to_string())?;
                    perform(&disk, job).await
                });
                working.await.map_err(|error| error.to_string())?
            })
        }))
    }

    /// Has a job done.
    ///
    /// # Errors
    /// It could not be done: why. What there was before is there still.
    pub async fn run(&self, job: Job) -> Result<Done, String> {
        (self.0)(job).await
    }
}

async fn perform<D: Disk>(disk: &D, job: Job) -> Result<Done, String> {
    let mut pace = Slice::of(SLICE);
    match job {
        Job::Cut(own, plan) => {
            let written = cutting::write_block(disk, own, plan, &mut pace).await;
            written.map(Done::Cut).map_err(|error| error.to_string())
        }
    }
}
