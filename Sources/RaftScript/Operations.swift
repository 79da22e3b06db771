// `v1 l2 r3 u4`: membership changes as scripts write them.

import NeedletailRaft

struct ScriptFailure: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

func parseOperations(_ text: String) throws(ScriptFailure) -> [SingleChange] {
  var changes: [SingleChange] = []
  for token in text.split(whereSeparator: \.isWhitespace) {
    guard token.count >= 2 else { throw ScriptFailure("unknown token \(token)") }
    let kind: ConfigChangeKind
    switch token.first {
    case "v": kind = .addVoter
    case "l": kind = .addLearner
    case "r": kind = .remove
    case "u": kind = .update
    default: throw ScriptFailure("unknown input: \(token)")
    }
    guard let node = NodeID(token.dropFirst()) else {
      throw ScriptFailure("strconv.ParseUint: parsing \"\(token.dropFirst())\": invalid syntax")
    }
    changes.append(SingleChange(kind, node))
  }
  return changes
}

func parseBool(_ text: String) throws(ScriptFailure) -> Bool {
  switch text {
  case "1", "t", "T", "true", "TRUE", "True": return true
  case "0", "f", "F", "false", "FALSE", "False": return false
  default: throw ScriptFailure("strconv.ParseBool: parsing \"\(text)\": invalid syntax")
  }
}

func parseNumber<Number: FixedWidthInteger>(_ text: String, _: Number.Type = Number.self) throws(ScriptFailure)
  -> Number
{
  guard let number = Number(text) else { throw ScriptFailure("not a number: \(text)") }
  return number
}
