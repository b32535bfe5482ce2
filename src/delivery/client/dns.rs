//! Asks name servers for the addresses of a name, as a stub resolver does (RFC 1035): both
//! families at once, again every second, the next server in turn, by TCP where an answer
//! is too long for UDP.
//!
//! A look-up holds one socket, and nothing else that could run out: names whose servers
//! are silent cost no more than as many connections would, and never a thread.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

/// How long a server has to answer before it is asked again, or the next one is. A family
/// that is silent for so long is not waited for where the other has given addresses.
const TRY: Duration = Duration::from_secs(1);
/// More than a server sends by UDP to one that has not said that it takes more (512).
const DATAGRAM: usize = 4096;

/// The addresses of a name, IPv4 first: where a machine has no IPv6, the first attempt is
/// not in vain.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    /// How long they hold; zero where a family was not answered.
    pub(super) ttl: Duration,
}

/// Why there is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DnsError {
    #[error("it is no name that can be asked for")]
    Name,
    #[error("the name server answered {0}")]
    Refused(ResponseCode),
    #[error("the name server cannot be reached: {0}")]
    Unreachable(io::ErrorKind),
}

/// Looks up `name`, which is absolute whether it ends in a dot or not. Does not end while
/// servers are silent: the caller has a deadline.
pub(super) async fn look_up(name: &str, servers: &[SocketAddr]) -> Result<Found, DnsError> {
    let mut name = Name::from_ascii(name).map_err(|_| DnsError::Name)?;
    name.set_fqdn(true);
    let mut questions = [
        Question::new(&name, RecordType::A)?,
        Question::new(&name, RecordType::AAAA)?,
    ];
    let mut servers = VecDeque::from_iter(servers.iter().copied());
    let mut failure = DnsError::Unreachable(io::ErrorKind::NotFound);
    let mut connected = None;
    while let Some(server) = servers.pop_front() {
        let socket = match connected.take() {
            // Also hears what comes late of the last try.
            Some((socket, to)) if to == server => Ok(socket),
            Some(_) | None => connect(server).await,
        };
        let asked = match socket {
            Ok(socket) => {
                let asked = ask(&socket, server, &mut questions).await;
                connected = Some((socket, server));
                asked
            }
            Err(error) => Err(error),
        };
        match asked {
            Ok(Asked::Answered) => break,
            Ok(Asked::Silent) => servers.push_back(server),
            // It will not say anything else a moment later.
            Ok(Asked::Refused(code)) => failure = DnsError::Refused(code),
            Err(error) => failure = DnsError::Unreachable(error.kind()),
        }
        if questions.iter().any(Question::has_addresses) {
            break;
        }
    }
    let answers = questions.map(|question| question.answer);
    let complete = answers.iter().all(Option::is_some);
    let known: Vec<Found> = answers.into_iter().flatten().collect();
    if !complete && known.iter().all(|found| found.addresses.is_empty()) {
        return Err(failure);
    }
    let ttl = known.iter().map(|found| found.ttl).min();
    Ok(Found {
        ttl: ttl.filter(|_| complete).unwrap_or_default(),
        addresses: known
            .into_iter()
            .flat_map(|found| found.addresses)
            .collect(),
    })
}

/// One kind of address, and what was answered.
struct Question {
    query: Query,
    id: u16,
    bytes: Vec<u8>,
    answer: Option<Found>,
}

enum Asked {
    Answered,
    Silent,
    Refused(ResponseCode),
}

impl Question {
    fn new(name: &Name, record_type: RecordType) -> Result<Self, DnsError> {
        let query = Query::query(name.clone(), record_type);
        // Under a random id, from a random port: both must be guessed to forge an answer.
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        Ok(Question {
            query,
            id: message.metadata.id,
            bytes: message.to_vec().map_err(|_| DnsError::Name)?,
            answer: None,
        })
    }

    fn has_addresses(&self) -> bool {
        let answer = self.answer.as_ref();
        answer.is_some_and(|found| !found.addresses.is_empty())
    }

    fn is_answered_by(&self, message: &Message) -> bool {
        message.metadata.id == self.id
            && message.metadata.message_type == MessageType::Response
            && message.queries.as_slice() == [self.query.clone()]
    }

    /// Where the answer is an alias the server has followed it.
    fn found_in(&self, message: &Message) -> Found {
        let address = |data: &RData| match data {
            RData::A(v4) => Some(IpAddr::V4(v4.0)),
            RData::AAAA(v6) => Some(IpAddr::V6(v6.0)),
            _ => None,
        };
        let ttl = message.answers.iter().map(|record| record.ttl).min();
        Found {
            addresses: message
                .answers
                .iter()
                .filter(|record| record.record_type() == self.query.query_type())
                .filter_map(|record| address(&record.data))
                .collect(),
            ttl: ttl.map_or(Duration::MAX, |ttl| Duration::from_secs(ttl.into())),
        }
    }
}

async fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    // The kernel then hands on what comes from there alone, and reports a closed port.
    socket.connect(server).await?;
    Ok(socket)
}

/// Sends what has no answer yet, and takes what comes within [`TRY`].
async fn ask(
    socket: &UdpSocket,
    server: SocketAddr,
    questions: &mut [Question],
) -> io::Result<Asked> {
    let until = Instant::now() + TRY;
    let mut open: Vec<&mut Question> = questions
        .iter_mut()
        .filter(|question| question.answer.is_none())
        .collect();
    for question in &open {
        socket.send(&question.bytes).await?;
    }
    let mut refused = None;
    let mut buffer = [0; DATAGRAM];
    while !open.is_empty() {
        let Ok(length) = timeout_at(until, socket.recv(&mut buffer)).await else {
            return Ok(refused.map_or(Asked::Silent, Asked::Refused));
        };
        let Ok(mut message) = Message::from_vec(&buffer[..length?]) else {
            continue;
        };
        let Some(at) = open.iter().position(|one| one.is_answered_by(&message)) else {
            continue;
        };
        let question = open.swap_remove(at);
        if message.metadata.truncation {
            let Ok(whole) = timeout_at(until, by_tcp(server, &question.bytes)).await else {
                return Ok(Asked::Silent);
            };
            message = whole?;
            if !question.is_answered_by(&message) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        match message.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => {
                question.answer = Some(question.found_in(&message));
            }
            code => refused = Some(code),
        }
    }
    Ok(refused.map_or(Asked::Answered, Asked::Refused))
}

async fn by_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Message> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let length = u16::try_from(query.len()).map_err(too_long)?;
    let mut stream = TcpStream::connect(server).await?;
    // In one piece: some servers read no second one.
    stream
        .write_all(&[&length.to_be_bytes(), query].concat())
        .await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Message::from_vec(&answer).map_err(|_| io::ErrorKind::InvalidData.into())
}
