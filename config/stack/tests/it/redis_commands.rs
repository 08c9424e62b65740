//! Redis, spoken to past everything of ours: what is seen here is what anybody would see who got at the server. Answers are kept as the
//! bytes that came.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::servers::Redis;

/// One connection.
pub struct Commands(BufReader<TcpStream>);

impl Commands {
    /// Connects and signs in.
    pub fn connect(redis: &Redis) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", redis.port())).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a deadline");
        let mut this = Self(BufReader::new(stream));
        let url = redis.url();
        let password = url.trim_start_matches("redis://:").split('@').next().expect("a password");
        assert_eq!(this.run(&["AUTH", password]), b"+OK\r\n");
        this
    }

    /// Runs a command. Returns the whole answer as it came.
    pub fn run(&mut self, words: &[&str]) -> Vec<u8> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.0.get_mut().write_all(command.as_bytes()).expect("a command is sent");
        let mut answer = Vec::new();
        self.read(&mut answer);
        answer
    }

    fn read(&mut self, answer: &mut Vec<u8>) {
        let begin = answer.len();
        self.0.read_until(b'\n', answer).expect("an answer in time");
        let head = String::from_utf8_lossy(&answer[begin..]).into_owned();
        let count = head[1..].trim_end().parse::<i64>().unwrap_or(0);
        match head.as_bytes()[0] {
            b'$' if count >= 0 => {
                let mut text = vec![0; count as usize + 2];
                self.0.read_exact(&mut text).expect("an answer in time");
                answer.extend(text);
            }
            b'*' => (0..count).for_each(|_| self.read(answer)),
            _ => {}
        }
    }

    /// The words of an answer that is a list of words.
    pub fn words(&mut self, command: &[&str]) -> Vec<String> {
        let answer = self.run(command);
        let text = String::from_utf8(answer).expect("text");
        text.split("\r\n").skip(1).filter(|line| !line.is_empty() && !line.starts_with('$')).map(str::to_owned).collect()
    }

    /// Everything that lies in Redis: names of keys, and what they hold, whatever their kind.
    pub fn everything(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        for key in self.words(&["KEYS", "*"]) {
            all.extend(key.as_bytes());
            all.extend(self.run(&["DUMP", &key]));
            let kind = self.run(&["TYPE", &key]);
            if kind == b"+stream\r\n" {
                all.extend(self.run(&["XRANGE", &key, "-", "+"]));
                all.extend(self.run(&["XINFO", "STREAM", &key, "FULL"]));
            }
        }
        all
    }
}

/// Writes down every command that Redis gets from now on, published messages included.
pub struct Monitor {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<u8>>,
}

impl Monitor {
    /// Begins.
    pub fn start(redis: &Redis) -> Self {
        let mut commands = Commands::connect(redis);
        assert_eq!(commands.run(&["MONITOR"]), b"+OK\r\n");
        commands.0.get_ref().set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut seen, mut buffer) = (Vec::new(), [0; 65_536]);
            loop {
                match commands.0.read(&mut buffer) {
                    Ok(0) => return seen,
                    Ok(count) => seen.extend(&buffer[..count]),
                    // Silence: whatever was sent before the stop has come.
                    Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                        if stopped.load(Ordering::Acquire) {
                            return seen;
                        }
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        Self { stop, thread }
    }

    /// Ends, and returns everything that was seen. Bytes that are no text are written as `\x00`.
    pub fn stop(self) -> Vec<u8> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("no panic")
    }
}
