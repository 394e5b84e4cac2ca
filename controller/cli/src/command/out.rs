//! Output of the commands. A reader that goes away (`fedgate status | head`) is not an error; the
//! macros of the standard library would panic.

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// Prints to standard output. Any error other than a closed pipe ends the program with status 1.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    if let Err(error) = write(io::stdout().lock(), text) {
        print_error(format_args!(
            "error: cannot write the answer: {}\n",
            fedgate_process::words::io(&error)
        ));
        #[expect(
            clippy::disallowed_methods,
            reason = "the command is in the middle of its answer"
        )]
        std::process::exit(1);
    }
}

/// Prints to standard error and ignores errors.
pub(crate) fn print_error(text: fmt::Arguments<'_>) {
    let _ = write(io::stderr().lock(), text);
}

fn write(mut to: impl Write, text: fmt::Arguments<'_>) -> io::Result<()> {
    match to.write_fmt(text).and_then(|()| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
