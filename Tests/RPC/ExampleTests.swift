// The example at the end of docs/protocol.md, made by the code: what is documented is what is sent.

import NeedletailRPC
import Testing

@Suite struct ExampleTests {
  @Test func documentedExample() {
    var client = OutBuffer()
    defer { client.free() }
    Preface.append(to: &client)
    let at = client.openFrame()
    withExactBytes(Array("foo".utf8)) { key in
      withExactBytes(Array("bar".utf8)) { value in
        var put = PutRequestView()
        put.key = key
        put.value = value
        put.encode(to: &client)
      }
    }
    client.closeFrame(
      at: at, rawMethod: Method.put.rawValue, flags: FrameFlags.endOfStream, stream: 1, status: 5_000)
    #expect(
      client.bytes.array
        == hex("4e4545444c450001" + "0a000000020002000100000088130000" + "0a03666f6f1203626172"))

    var server = OutBuffer()
    defer { server.free() }
    var hello = Hello()
    hello.serverVersion = "0.1.0"
    hello.appendFrame(to: &server)
    let answer = server.openFrame()
    var response = PutResponse()
    response.header = ResponseHeader(clusterID: 1, memberID: 2, revision: 2, raftTerm: 1)
    response.encode(to: &server)
    server.closeFrame(
      at: answer, rawMethod: Method.put.rawValue, flags: FrameFlags.answer | FrameFlags.endOfStream, stream: 1,
      status: 0)
    #expect(
      server.bytes.array
        == hex(
          "11000000000001000000000000000000" + "080118808080012080082a05302e312e30"
            + "0a000000020003000100000000000000" + "0a080801100218022001"))
  }
}
