//! The kernel floor: what one `write(2)` of a small frame to one loopback socket costs, paced as a
//! publisher would pace it, with nothing around it. Every figure of the engine is given as a ratio
//! to this, taken in the same run. Must not use any code of the engine.
//!
//! One thread writes to every socket at each tick, another reads them all; each has a descriptor
//! table and, where there are two, a CPU of its own. CPU time is the thread's own, which includes
//! the softirq work the kernel does in its name: on loopback that is nearly all of it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use mio::{Events, Interest, Poll, Token};
use rustix::thread::{CpuSet, UnshareFlags};
use rustix::time::ClockId;

/// Measures the bare kernel cost of one write per loopback socket, and of one read.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Sockets written to at each tick.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    sockets: u32,
    /// Ticks per second; 0 writes without a pause.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    rate: u32,
    /// Bytes per write; the default is a C37.118 frame of 92 bytes in a WebSocket frame.
    #[arg(long, default_value_t = 94, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    bytes: u32,
    /// Seconds measured, after one of warm-up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
}

/// What the writer tells the reader.
#[derive(Default)]
struct Progress {
    bytes: AtomicU64,
    stop: AtomicBool,
}

/// What one thread spent.
struct Spent {
    cpu_ns: u64,
    calls: u64,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let progress = Arc::new(Progress::default());
    let (connected, connecting) = mpsc::channel();
    let reader = {
        let (progress, sockets) = (Arc::clone(&progress), options.sockets);
        thread::spawn(move || read_all(address, sockets, &progress, &connected))
    };
    let wrote = thread::spawn(move || {
        let spent = write_all(&listener, &connecting, &options, &progress.bytes);
        progress.stop.store(true, Ordering::Release);
        spent
    });
    let wrote = wrote.join().map_err(|_| io::Error::other("the writer panicked"))??;
    let read = reader.join().map_err(|_| io::Error::other("the reader panicked"))??;
    let per_call = |spent: &Spent| spent.cpu_ns as f64 / spent.calls.max(1) as f64 / 1e3;
    println!(
        "{{\"write_us\":{:.3},\"writes\":{},\"read_us\":{:.3},\"reads\":{}}}",
        per_call(&wrote),
        wrote.calls,
        per_call(&read),
        read.calls
    );
    Ok(())
}

fn write_all(
    listener: &TcpListener,
    connecting: &mpsc::Receiver<()>,
    options: &Options,
    written: &AtomicU64,
) -> io::Result<Spent> {
    alone_on(0)?;
    let mut sockets = Vec::new();
    for _ in 0..options.sockets {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    // The reader hung up only if it failed; its own error is the one to report.
    let _ = connecting.recv();
    let frame = vec![0x5A; options.bytes as usize];
    write_for(Duration::from_secs(1), &mut sockets, &frame, options.rate, written)?;
    let before_ns = thread_cpu_ns();
    let measured = Duration::from_secs(u64::from(options.seconds));
    let calls = write_for(measured, &mut sockets, &frame, options.rate, written)?;
    Ok(Spent { cpu_ns: thread_cpu_ns() - before_ns, calls })
}

fn write_for(
    duration: Duration,
    sockets: &mut [TcpStream],
    frame: &[u8],
    rate: u32,
    written: &AtomicU64,
) -> io::Result<u64> {
    let started = Instant::now();
    let mut calls = 0;
    for tick in 1_u64.. {
        for socket in sockets.iter_mut() {
            socket.write_all(frame)?;
        }
        calls += sockets.len() as u64;
        written.fetch_add((frame.len() * sockets.len()) as u64, Ordering::Relaxed);
        if started.elapsed() >= duration {
            break;
        }
        if rate > 0 {
            let due = Duration::from_nanos(tick * 1_000_000_000 / u64::from(rate));
            thread::sleep(due.saturating_sub(started.elapsed()));
        }
    }
    Ok(calls)
}

fn read_all(
    address: SocketAddr,
    sockets: u32,
    progress: &Progress,
    connected: &mpsc::Sender<()>,
) -> io::Result<Spent> {
    alone_on(1)?;
    let mut poll = Poll::new()?;
    let mut streams = Vec::new();
    for index in 0..sockets as usize {
        let stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
        streams.push(stream);
    }
    // The writer waits for this; were it gone, its own error is the one to report.
    let _ = connected.send(());
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 << 10];
    let (mut spent, mut received) = (Spent { cpu_ns: 0, calls: 0 }, 0);
    let began_ns = thread_cpu_ns();
    while !progress.stop.load(Ordering::Acquire)
        || received < progress.bytes.load(Ordering::Relaxed)
    {
        poll.poll(&mut events, Some(Duration::from_millis(50)))?;
        for event in &events {
            match streams[event.token().0].read(&mut buffer) {
                Ok(count) => {
                    spent.calls += 1;
                    received += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if events.is_empty() && progress.stop.load(Ordering::Acquire) {
            break;
        }
    }
    spent.cpu_ns = thread_cpu_ns() - began_ns;
    Ok(spent)
}

/// Gives the calling thread a descriptor table and, where the machine has it, CPU `cpu` to itself.
fn alone_on(cpu: usize) -> io::Result<()> {
    // SAFETY: the thread opens what it uses after this and shares no descriptor it would close,
    // but for the listener, which was open before and is in both tables.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FILES) }?;
    if thread::available_parallelism()?.get() > 1 {
        let mut set = CpuSet::new();
        set.set(cpu);
        rustix::thread::sched_setaffinity(None, &set)?;
    }
    Ok(())
}

fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
