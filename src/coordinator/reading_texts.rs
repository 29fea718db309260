//! Reading the text of a request without holding its core up: at once if that is quick, else on the core's helper thread.

use crate::model::allowance::{Allowance, within};
use crate::rt::task::{self, TaskError};

/// Texts that are longer are not begun here.
const QUICK_BYTES: usize = 4 << 10;

/// What `read` makes of a request's text of `bytes` bytes: within what one request may cost. It may be asked twice.
///
/// # Errors
/// The helper thread has not done it.
pub async fn read<T, E>(
    bytes: usize,
    read: impl Fn() -> Result<T, E> + Send + 'static,
) -> Result<Result<T, E>, TaskError>
where
    T: Send + 'static,
    E: Send + 'static,
{
    if bytes <= QUICK_BYTES
        && let Ok(done) = within(Allowance::QUICK, &read)
    {
        return Ok(Ok(done));
    }
    task::spawn_blocking("reading a request", move || within(Allowance::FULL, read)).await
}
