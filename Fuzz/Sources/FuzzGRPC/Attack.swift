// A client's life on one HTTP/2 connection, as the fuzzer's bytes tell it: honest frames, any frames, windows that open a little,
// answers taken or not. Whatever comes, the server's bytes are frames, messages are what was written, no window is overrun, and
// nothing is left when the connection is gone.
import FuzzInput
import Glibc
import NeedletailBytes

@testable import NeedletailRPC

func attack(_ bytes: UnsafeRawBufferPointer) {
  var input = Input(bytes)
  guard let server = Server(refusing: input.byte()) else { return }
  defer { server.close() }
  let client = Client(server, window: UInt32(input.number(3) & 0x3ffff))
  while !input.isEmpty, !server.isOver {
    switch input.byte() % 12 {
    case 0, 1: client.open(isStream: input.byte() & 1 == 0, isEnd: input.byte() & 1 == 0, &input)
    case 2, 3: client.message(&input)
    case 4: client.data(input.take(Int(input.byte())), isEnd: input.byte() & 1 == 0, &input)
    case 5, 6: client.openWindow(&input)
    case 7: client.reset(&input)
    case 8: client.ping()
    case 9: client.anyFrame(&input)
    case 10: client.takeOutput()
    default: server.advanceClock(UInt64(input.byte()) * 500)
    }
    client.look()
  }
}
