//! Reads who a connection is from, where a load balancer in front of the endpoint says so.
//!
//! Every connection must begin with a header. Without this rule, a client that reaches the endpoint
//! directly could pretend to be any source.

use fedgate_federation::proxy_header::{
    FIXED, InvalidHeader, LONGEST_LINE, START, Version, source, variable_part, version,
};
use std::{io, net::IpAddr};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// Reads the header and not one byte more: what follows belongs to TLS or HTTP. Returns the source;
/// `None` if the balancer connects on its own behalf.
pub(super) async fn read_header(stream: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; START];
    stream.read_exact(&mut header).await?;
    match version(&header)? {
        Version::One => read_line(stream, &mut header).await?,
        Version::Two => {
            read_more(stream, &mut header, FIXED - START).await?;
            let rest = variable_part(&header)?;
            read_more(stream, &mut header, rest).await?;
        }
    }
    Ok(source(&header)?)
}

/// Reads up to the line break, which has to come soon enough.
async fn read_line(stream: &mut TcpStream, header: &mut Vec<u8>) -> io::Result<()> {
    while header.last() != Some(&b'\n') {
        let mut ahead = [0; LONGEST_LINE];
        let left = LONGEST_LINE.saturating_sub(header.len());
        let seen = stream.peek(ahead.get_mut(..left).unwrap_or_default()).await?;
        let seen = ahead.get(..seen).unwrap_or_default();
        if seen.is_empty() {
            // The client has hung up, or the line is too long.
            return Err(InvalidHeader.into());
        }
        let end = seen.iter().position(|byte| *byte == b'\n');
        read_more(stream, header, end.map_or(seen.len(), |end| end + 1)).await?;
    }
    Ok(())
}

async fn read_more(stream: &mut TcpStream, header: &mut Vec<u8>, bytes: usize) -> io::Result<()> {
    let read = header.len();
    header.resize(read + bytes, 0);
    stream.read_exact(header.get_mut(read..).unwrap_or_default()).await.map(drop)
}
