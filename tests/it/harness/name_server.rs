//! A name server that answers as a test says, or not at all.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// What a question gets. Of addresses only those of the family that was asked for.
#[allow(dead_code)]
pub enum Answer {
    Addresses(Vec<IpAddr>),
    /// Addresses that may be kept for so many seconds.
    Kept(Vec<IpAddr>, u32),
    /// Addresses that are too many for UDP: the question has to come by TCP.
    TooLong(Vec<IpAddr>),
    NoSuchName,
    /// SERVFAIL.
    Failure,
    Silence,
}

/// A question's name, without the last dot, and the type of record: 1 is A, 28 AAAA.
type Judge = dyn Fn(&str, u16) -> Answer + Send + Sync;

#[allow(dead_code)]
pub struct NameServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
    tasks: [JoinHandle<()>; 2],
}

#[allow(dead_code)]
impl NameServer {
    pub async fn start(judge: impl Fn(&str, u16) -> Answer + Send + Sync + 'static) -> Self {
        let (udp, tcp) = bind().await.unwrap();
        let address = udp.local_addr().unwrap();
        let judge: Arc<Judge> = Arc::new(judge);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, judge_of_udp) = (Arc::clone(&asked), Arc::clone(&judge));
        let by_udp = tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                let query = &buffer[..length];
                log.lock().unwrap().push(question(query));
                if let Some(response) = response(query, &*judge_of_udp, false) {
                    let _ = udp.send_to(&response, from).await;
                }
            }
        });
        let by_tcp = tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                let _ = serve(stream, &*judge).await;
            }
        });
        NameServer {
            address,
            asked,
            tasks: [by_udp, by_tcp],
        }
    }

    /// How often a name was asked for by UDP, its records of a type.
    pub fn asked(&self, name: &str, record_type: u16) -> usize {
        let asked = self.asked.lock().unwrap();
        let same = |(one, of): &&(String, u16)| one == name && *of == record_type;
        asked.iter().filter(same).count()
    }

    /// Counts from zero from here on.
    pub fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The same port of both protocols: one that TCP has free may be taken of UDP.
async fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr()?).await {
            return Ok((udp, tcp));
        }
    }
}

async fn serve(mut stream: TcpStream, judge: &Judge) -> io::Result<()> {
    let mut query = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut query).await?;
    if let Some(response) = response(&query, judge, true) {
        stream.write_u16(response.len() as u16).await?;
        stream.write_all(&response).await?;
    }
    Ok(())
}

const HEADER: usize = 12;

/// The labels of the only question, and where it ends.
fn labels(query: &[u8]) -> (String, usize) {
    let (mut name, mut at) = (String::new(), HEADER);
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        if !name.is_empty() {
            name.push('.');
        }
        name += std::str::from_utf8(&query[at + 1..end]).unwrap();
        at = end;
    }
    (name, at + 1)
}

fn question(query: &[u8]) -> (String, u16) {
    let (name, end) = labels(query);
    (name, u16::from_be_bytes([query[end], query[end + 1]]))
}

fn response(query: &[u8], judge: &Judge, by_tcp: bool) -> Option<Vec<u8>> {
    let (name, record_type) = question(query);
    let (code, truncated, addresses, ttl) = match judge(&name, record_type) {
        Answer::Silence => return None,
        Answer::Addresses(addresses) => (0, false, addresses, 60),
        Answer::Kept(addresses, ttl) => (0, false, addresses, ttl),
        Answer::TooLong(addresses) if by_tcp => (0, false, addresses, 60),
        Answer::TooLong(_) => (0, true, Vec::new(), 0),
        Answer::NoSuchName => (3, false, Vec::new(), 0),
        Answer::Failure => (2, false, Vec::new(), 0),
    };
    let data = |address: &IpAddr| match (address, record_type) {
        (IpAddr::V4(v4), 1) => Some(v4.octets().to_vec()),
        (IpAddr::V6(v6), 28) => Some(v6.octets().to_vec()),
        _ => None,
    };
    let records: Vec<Vec<u8>> = addresses.iter().filter_map(data).collect();
    let mut response = query[..2].to_vec();
    response.extend([0x81 | u8::from(truncated) << 1, 0x80 | code, 0, 1]);
    response.extend((records.len() as u16).to_be_bytes());
    response.extend([0; 4]);
    response.extend(&query[HEADER..labels(query).1 + 4]);
    for data in records {
        // The name is that of the question; class IN.
        response.extend([0xc0, HEADER as u8]);
        response.extend(record_type.to_be_bytes());
        response.extend([0, 1]);
        response.extend(ttl.to_be_bytes());
        response.extend((data.len() as u16).to_be_bytes());
        response.extend(data);
    }
    Some(response)
}
