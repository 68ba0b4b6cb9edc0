use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const PREFACE_TEXT: &[u8; PREFACE] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags, 0, 0, 0, 5]);
    frame.extend_from_slice(payload);
    frame
}

/// Frames as (type, flags, payload).
fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [high, middle, low, kind, flags, 0, 0, 0, 5, rest @ ..] = bytes {
        let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        frames.push((*kind, *flags, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty());
    frames
}

/// What is read when `bytes` arrive, `arrive` at a time, and are asked for `ask` at a time.
async fn through(bytes: &[u8], arrive: usize, ask: usize) -> Vec<u8> {
    let (mut client, server) = tokio::io::duplex(arrive);
    let sent = [PREFACE_TEXT, bytes].concat();
    let sender = tokio::spawn(async move { client.write_all(&sent).await });
    let mut server = SmallFrames::new(server);
    let mut read = Vec::new();
    let mut buffer = vec![0; ask];
    loop {
        match server.read(&mut buffer).await.unwrap() {
            0 => break,
            length => read.extend_from_slice(&buffer[..length]),
        }
    }
    sender.await.unwrap().unwrap();
    assert_eq!(&read[..PREFACE], PREFACE_TEXT);
    read.split_off(PREFACE)
}

#[tokio::test]
async fn a_large_data_frame_is_cut_and_keeps_its_bytes() {
    let payload: Vec<u8> = (0..16_384_u32).map(|index| index.to_le_bytes()[0]).collect();
    let sent = [frame(4, 0, &[1; 12]), frame(DATA, END_STREAM, &payload), frame(DATA, 0, b"ack")].concat();
    for (arrive, ask) in [(1 << 16, 1 << 16), (1000, 77), (7, 3), (1, 1)] {
        let came = frames(&through(&sent, arrive, ask).await);
        assert_eq!(came[0], (4, 0, vec![1; 12]));
        assert_eq!(came.last().unwrap(), &(DATA, 0, b"ack".to_vec()));
        let pieces = &came[1..came.len() - 1];
        assert_eq!(pieces.len(), 16_384 / PIECE);
        assert!(pieces.iter().all(|(kind, _, piece)| *kind == DATA && piece.len() == PIECE));
        let (last, before) = pieces.split_last().unwrap();
        assert_eq!(last.1, END_STREAM);
        assert!(before.iter().all(|(_, flags, _)| *flags == 0));
        assert_eq!(pieces.iter().flat_map(|(_, _, piece)| piece.clone()).collect::<Vec<_>>(), payload);
    }
}

#[tokio::test]
async fn everything_else_passes_as_it_is() {
    let sent = [
        frame(1, 4, &[2; 5000]),
        frame(DATA, PADDED, &[3; 5000]),
        frame(DATA, 0, &[4; PIECE]),
        frame(DATA, 0, &[]),
        // Longer than the protocol allows: it is for HTTP/2 to say so.
        frame(DATA, 0, &[5; LONGEST + 1]),
    ]
    .concat();
    assert_eq!(through(&sent, 1 << 16, 1 << 16).await, sent);
    assert_eq!(through(&sent, 10, 100).await, sent);
}

#[tokio::test]
async fn a_connection_that_ends_anywhere_ends() {
    let sent = frame(DATA, 0, &[6; 5000]);
    for cut in [1, 8, 9, 10, PIECE + HEAD, sent.len() - 1] {
        let came = through(&sent[..cut], 1 << 16, 1 << 16).await;
        assert!(came.len() <= cut + HEAD, "{cut}");
    }
}
