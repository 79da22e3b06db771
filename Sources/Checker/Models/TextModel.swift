// One key with get, put and append, as the key-value logs have it. A state is a text, kept as the one it was made from and
// what was appended to it: histories of appends would be quadratic otherwise.
//
// A text that no get's answer begins with is seen by nobody, and appending to it makes another such text. All of them are
// one state, `unseen`: else the search would go through every order of appends that a put has wiped out.

struct TextModel: Model {
  enum Operation {
    case get([UInt8])
    case put([UInt8])
    case append([UInt8])
  }

  private enum Step {
    /// Numbers of `pieces`; of a get besides the state that it fits, known when the search begins.
    case get(Int32, StateID)
    case put(Int32)
    case append(Int32)
  }

  /// The text of `parent`, then a piece. Equal texts have one number, whichever way they were made.
  private struct Text {
    var parent: StateID
    var piece: Int32
    var count: Int
    var hash: UInt64
  }

  private struct Making: Hashable {
    var parent: StateID
    var piece: Int32
  }

  private var steps: [Step] = []
  private var pieces: [[UInt8]] = [[]]
  private var pieceNumbers: [[UInt8]: Int32] = [[]: 0]
  /// The empty text, and in place of a second the texts that nobody sees.
  private var texts = [Text(parent: 0, piece: 0, count: 0, hash: 0), Text(parent: 1, piece: 0, count: 0, hash: 0)]
  private static let unseen: StateID = 1
  /// The answers of gets; sorted when the search begins.
  private var answers: [[UInt8]] = []
  private var makings: [Making: StateID] = [:]
  private var byHash: [UInt64: [StateID]] = [0: [0]]
  private var pieceBytes = 0

  var byteCount: Int {
    pieceBytes + texts.capacity * MemoryLayout<Text>.stride + makings.capacity * 24 + byHash.capacity * 64
  }

  mutating func append(_ operation: Operation) { steps.append(step(operation)) }

  private mutating func step(_ operation: Operation) -> Step {
    switch operation {
    case .get(let value):
      answers.append(value)
      return .get(number(value), TextModel.unseen)
    case .put(let value): return .put(number(value))
    case .append(let value): return .append(number(value))
    }
  }

  private mutating func number(_ piece: [UInt8]) -> Int32 {
    if let number = pieceNumbers[piece] { return number }
    let number = Int32(truncatingIfNeeded: pieces.count)
    pieces.append(piece)
    pieceNumbers[piece] = number
    pieceBytes += 2 * piece.count + 64
    return number
  }

  // MARK: Texts

  private mutating func extend(_ parent: StateID, with piece: Int32) -> StateID {
    guard parent != TextModel.unseen else { return parent }
    let making = Making(parent: parent, piece: piece)
    if let known = makings[making] { return known }
    var text = texts[Int(parent)]
    text.parent = parent
    text.piece = piece
    text.count += pieces[Int(piece)].count
    for byte in pieces[Int(piece)] { text.hash = text.hash &* 0x0000_0100_0000_01B3 &+ UInt64(byte) &+ 1 }
    var number = byHash[text.hash]?.first { isEqual(texts[Int($0)], text) }
    if number == nil, !isSeen(bytes(of: text)) { number = TextModel.unseen }
    if number == nil {
      byHash[text.hash, default: []].append(StateID(truncatingIfNeeded: texts.count))
      texts.append(text)
    }
    let made = number ?? StateID(truncatingIfNeeded: texts.count - 1)
    makings[making] = made
    return made
  }

  /// Whether a get's answer begins with the text.
  private func isSeen(_ text: [UInt8]) -> Bool {
    var low = 0
    var high = answers.count
    while low < high {
      let middle = (low + high) / 2
      if answers[middle].lexicographicallyPrecedes(text) { low = middle + 1 } else { high = middle }
    }
    return low < answers.count && answers[low].starts(with: text)
  }

  private func isEqual(_ one: Text, _ other: Text) -> Bool {
    guard one.count == other.count, one.hash == other.hash else { return false }
    if one.parent == other.parent, one.piece == other.piece { return true }
    return bytes(of: one) == bytes(of: other)
  }

  private func bytes(of text: Text) -> [UInt8] {
    var parts: [Int32] = []
    var text = text
    while text.count > 0 {
      parts.append(text.piece)
      text = texts[Int(text.parent)]
    }
    return parts.reversed().flatMap { pieces[Int($0)] }
  }

  // MARK: Model

  mutating func initialState() -> StateID {
    answers.sort { $0.lexicographicallyPrecedes($1) }
    for call in steps.indices {
      if case .get(let piece, _) = steps[call] { steps[call] = .get(piece, extend(0, with: piece)) }
    }
    return 0
  }

  mutating func apply(_ call: Int, to state: StateID, by time_ns: Int64) -> StateID? {
    switch steps[call] {
    case .get(_, let text): text == state ? state : nil
    case .put(let piece): extend(0, with: piece)
    case .append(let piece): extend(state, with: piece)
    }
  }

  func isPure(_ call: Int) -> Bool {
    if case .get = steps[call] { true } else { false }
  }

  /// What is appended stays in front of all that follows, until something is put.
  func isOnTheWay(to goal: Int, _ state: StateID) -> Bool {
    if case .get(let whole, _) = steps[goal] { isPrefix(state, of: whole) } else { true }
  }

  func mayTurn(_ call: Int, to goal: Int) -> Bool {
    guard case .get(let whole, _) = steps[goal], case .put(let start) = steps[call] else { return false }
    return pieces[Int(whole)].starts(with: pieces[Int(start)])
  }

  private func isPrefix(_ prefix: StateID, of whole: Int32) -> Bool {
    guard prefix != TextModel.unseen else { return false }
    let goal = pieces[Int(whole)]
    var text = texts[Int(prefix)]
    guard text.count <= goal.count else { return false }
    while text.count > 0 {
      let piece = pieces[Int(text.piece)]
      guard goal[(text.count - piece.count)..<text.count].elementsEqual(piece) else { return false }
      text = texts[Int(text.parent)]
    }
    return true
  }
}
