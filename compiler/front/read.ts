/**
 * Files to syntax: the one place that knows ts-morph. A single Project per process holds every parsed file, so reading a
 * kernel again costs nothing, and `refresh` re-reads one file in watch mode.
 */
import { existsSync } from "node:fs";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { Project, ts } from "ts-morph";
import { type CompileError, diagnostic, type Span } from "../diagnostics.ts";
import type {
  BinaryOperator, Expression, FunctionExpression, Import, Item, Member, Module, Parameter, Pattern, Statement, Unsupported,
} from "./syntax.ts";

/** The project's root: locations are relative to it. */
export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

let shared: Project | undefined;
const modules = new Map<string, Module>();
const typeErrorsOf = new Map<string, readonly CompileError[]>();

const project = (): Project =>
  (shared ??= new Project({
    tsConfigFilePath: resolve(root, "tsconfig.json"),
    skipAddingFilesFromTsConfig: true,
    skipFileDependencyResolution: true,
    // kernels need no browser's types, which cost time; unused names are a linter's business
    compilerOptions: { types: ["node"], noUnusedLocals: false, noUnusedParameters: false },
  }));

/** A path as messages show it: from the project's root, or from the working directory for files outside of it. */
export function displayPath(file: string): string {
  const inside = relative(root, file);
  return (inside.startsWith("..") || isAbsolute(inside) ? relative(process.cwd(), file) : inside).split(sep).join("/");
}

/** The text behind a path of `displayPath`, for `format`. */
export function sourceText(path: string): string | undefined {
  const file = [resolve(root, path), resolve(path)].find((f) => modules.has(f));
  return file && project().getSourceFile(file)?.getFullText();
}

/** Reads a file, or returns what was read before. */
export function readModule(file: string, from?: Span): Module {
  const known = modules.get(file);
  if (known) return known;
  const source = project().getSourceFile(file) ?? (existsSync(file) ? project().addSourceFileAtPath(file) : undefined);
  if (!source) throw diagnostic("E-FRONT-01", from, { file: displayPath(file), reason: "there is no such file" });
  const module = toModule(file, source.compilerNode);
  modules.set(file, module);
  return module;
}

/** Reads files together, so that TypeScript checks them as one program: much faster than one after the other. */
export function preload(files: readonly string[]): void {
  for (const file of files) readModule(resolve(file));
}

/** Takes a file's text from memory instead of the disk. */
export function overlay(path: string, text: string): void {
  const file = resolve(path);
  project().createSourceFile(file, text, { overwrite: true });
  modules.delete(file);
  typeErrorsOf.delete(file);
}

/** Reads a file anew after it changed on disk. */
export function refresh(file: string): void {
  project().getSourceFile(file)?.refreshFromFileSystemSync();
  modules.delete(file);
  typeErrorsOf.clear(); // an importer's types may have changed too
}

/** The file that a relative import names. */
export const importedFile = (importer: string, module: string): string => resolve(dirname(importer), module);

/** What TypeScript itself has against a file. */
export function typeErrors(file: string): readonly CompileError[] {
  const known = typeErrorsOf.get(file);
  if (known) return known;
  const source = project().getSourceFile(file) ?? project().addSourceFileAtPath(file);
  const errors = source.getPreEmitDiagnostics().map(({ compilerObject: d }) => {
    const span = d.file && d.start !== undefined ? spanAt(d.file, d.start, d.length ?? 1) : undefined;
    return diagnostic("E-TYPE-01", span, { message: ts.flattenDiagnosticMessageText(d.messageText, "\n  ") });
  });
  typeErrorsOf.set(file, errors);
  return errors;
}

function spanAt(source: ts.SourceFile, start: number, length: number): Span {
  const { line, character } = source.getLineAndCharacterOfPosition(start);
  return { file: displayPath(source.fileName), line: line + 1, column: character + 1, length: Math.max(length, 1) };
}

function toModule(file: string, source: ts.SourceFile): Module {
  const read = reader(source);
  const imports = new Map<string, Import>();
  const exports = new Map<string, string | Import>();
  const starExports: string[] = [];
  const declared = new Map<string, () => Expression>();
  for (const statement of source.statements) {
    if (ts.isImportDeclaration(statement)) readImport(statement, imports, read.span);
    else if (ts.isExportDeclaration(statement)) readExport(statement, exports, starExports, read.span);
    else if (ts.isExportAssignment(statement)) {
      declared.set("default", () => read.expression(statement.expression));
      exports.set("default", "default");
    } else if (ts.isVariableStatement(statement)) {
      for (const d of statement.declarationList.declarations) {
        if (!d.initializer) continue;
        for (const [name, value] of read.topLevel(d.name, d.initializer)) {
          declared.set(name, value);
          if (isExported(statement)) exports.set(name, name);
        }
      }
    } else if (ts.isFunctionDeclaration(statement) && statement.name) {
      const { text } = statement.name;
      declared.set(text, () => read.func(statement, text));
      if (isExported(statement)) exports.set(text, text);
    }
  }
  const cache = new Map<string, Expression | undefined>();
  let scalarFns: Map<string, Expression> | undefined;
  return {
    file,
    imports,
    exports,
    starExports,
    declaration(name) {
      if (!cache.has(name)) cache.set(name, declared.get(name)?.());
      return cache.get(name);
    },
    get scalarFns() {
      return (scalarFns ??= findScalarFns(source, read.expression));
    },
  };
}

const isExported = (node: ts.VariableStatement | ts.FunctionDeclaration): boolean =>
  node.modifiers?.some((m) => m.kind === ts.SyntaxKind.ExportKeyword) ?? false;

function readImport(node: ts.ImportDeclaration, imports: Map<string, Import>, spanOf: (node: ts.Node) => Span): void {
  if (!ts.isStringLiteral(node.moduleSpecifier)) return;
  const module = node.moduleSpecifier.text;
  const clause = node.importClause;
  const bindings = clause?.namedBindings;
  if (clause?.name) imports.set(clause.name.text, { module, name: "default", span: spanOf(node) });
  if (bindings && ts.isNamespaceImport(bindings)) imports.set(bindings.name.text, { module, name: "*", span: spanOf(node) });
  if (bindings && ts.isNamedImports(bindings)) {
    for (const e of bindings.elements) imports.set(e.name.text, { module, name: (e.propertyName ?? e.name).text, span: spanOf(e) });
  }
}

function readExport(node: ts.ExportDeclaration, exports: Map<string, string | Import>, stars: string[], spanOf: (node: ts.Node) => Span): void {
  const module = node.moduleSpecifier && ts.isStringLiteral(node.moduleSpecifier) ? node.moduleSpecifier.text : undefined;
  if (!node.exportClause) {
    if (module !== undefined) stars.push(module);
  } else if (ts.isNamedExports(node.exportClause)) {
    for (const e of node.exportClause.elements) {
      const name = (e.propertyName ?? e.name).text;
      exports.set(e.name.text, module === undefined ? name : { module, name, span: spanOf(e) });
    }
  }
}

function findScalarFns(source: ts.SourceFile, expression: (node: ts.Expression) => Expression): Map<string, Expression> {
  const found = new Map<string, Expression>();
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === "scalarFn") {
      const [name, f] = node.arguments;
      if (name && f && ts.isStringLiteralLike(name)) found.set(name.text, expression(f));
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const binaryOperators = new Map<ts.SyntaxKind, BinaryOperator>([
  [ts.SyntaxKind.PlusToken, "+"], [ts.SyntaxKind.MinusToken, "-"], [ts.SyntaxKind.AsteriskToken, "*"], [ts.SyntaxKind.SlashToken, "/"],
  [ts.SyntaxKind.PercentToken, "%"], [ts.SyntaxKind.AsteriskAsteriskToken, "**"], [ts.SyntaxKind.AmpersandToken, "&"],
  [ts.SyntaxKind.BarToken, "|"], [ts.SyntaxKind.CaretToken, "^"], [ts.SyntaxKind.LessThanLessThanToken, "<<"],
  [ts.SyntaxKind.GreaterThanGreaterThanToken, ">>"], [ts.SyntaxKind.GreaterThanGreaterThanGreaterThanToken, ">>>"],
  [ts.SyntaxKind.LessThanToken, "<"], [ts.SyntaxKind.LessThanEqualsToken, "<="], [ts.SyntaxKind.GreaterThanToken, ">"],
  [ts.SyntaxKind.GreaterThanEqualsToken, ">="], [ts.SyntaxKind.EqualsEqualsEqualsToken, "==="],
  [ts.SyntaxKind.ExclamationEqualsEqualsToken, "!=="], [ts.SyntaxKind.AmpersandAmpersandToken, "&&"], [ts.SyntaxKind.BarBarToken, "||"],
  [ts.SyntaxKind.QuestionQuestionToken, "??"],
]);
const compoundOperators = new Map<ts.SyntaxKind, BinaryOperator>([
  [ts.SyntaxKind.PlusEqualsToken, "+"], [ts.SyntaxKind.MinusEqualsToken, "-"], [ts.SyntaxKind.AsteriskEqualsToken, "*"],
  [ts.SyntaxKind.SlashEqualsToken, "/"], [ts.SyntaxKind.PercentEqualsToken, "%"], [ts.SyntaxKind.AsteriskAsteriskEqualsToken, "**"],
  [ts.SyntaxKind.AmpersandEqualsToken, "&"], [ts.SyntaxKind.BarEqualsToken, "|"], [ts.SyntaxKind.CaretEqualsToken, "^"],
  [ts.SyntaxKind.LessThanLessThanEqualsToken, "<<"], [ts.SyntaxKind.GreaterThanGreaterThanEqualsToken, ">>"],
  [ts.SyntaxKind.GreaterThanGreaterThanGreaterThanEqualsToken, ">>>"], [ts.SyntaxKind.AmpersandAmpersandEqualsToken, "&&"],
  [ts.SyntaxKind.BarBarEqualsToken, "||"], [ts.SyntaxKind.QuestionQuestionEqualsToken, "??"],
]);
const unaryOperators = new Map<ts.SyntaxKind, "-" | "+" | "!" | "~">([
  [ts.SyntaxKind.MinusToken, "-"], [ts.SyntaxKind.PlusToken, "+"], [ts.SyntaxKind.ExclamationToken, "!"], [ts.SyntaxKind.TildeToken, "~"],
]);
const keywords = new Map<ts.SyntaxKind, boolean | null>([
  [ts.SyntaxKind.TrueKeyword, true], [ts.SyntaxKind.FalseKeyword, false], [ts.SyntaxKind.NullKeyword, null],
]);

type FunctionNode = ts.ArrowFunction | ts.FunctionExpression | ts.FunctionDeclaration | ts.MethodDeclaration;

interface Reader {
  span(node: ts.Node): Span;
  expression(node: ts.Expression, name?: string): Expression;
  func(node: FunctionNode, name: string): FunctionExpression | Unsupported;
  /** The names of a top-level declaration, each with how to read its value. */
  topLevel(name: ts.BindingName, initializer: ts.Expression): readonly (readonly [string, () => Expression])[];
}

/** The conversion of one file's nodes. */
function reader(source: ts.SourceFile): Reader {
  const span = (node: ts.Node): Span => spanAt(source, node.getStart(source), node.getEnd() - node.getStart(source));
  const unsupported = (node: ts.Node, what: string, instead: string): Unsupported => ({ kind: "Unsupported", what, instead, span: span(node) });
  const nothing = (node: ts.Node): Expression => ({ kind: "Literal", value: undefined, span: span(node) });

  /** `name` is what a function in this place is called. */
  function expression(node: ts.Expression, name = ""): Expression {
    const at = span(node);
    if (ts.isNumericLiteral(node)) return { kind: "Literal", value: Number(node.text), span: at };
    if (ts.isStringLiteralLike(node)) return { kind: "Literal", value: node.text, span: at };
    const keyword = keywords.get(node.kind);
    if (keyword !== undefined) return { kind: "Literal", value: keyword, span: at };
    if (ts.isIdentifier(node)) return { kind: "Name", name: node.text, span: at };
    if (
      ts.isParenthesizedExpression(node) || ts.isAsExpression(node) || ts.isSatisfiesExpression(node) ||
      ts.isNonNullExpression(node) || ts.isTypeAssertionExpression(node)
    ) return expression(node.expression, name);
    if (ts.isPropertyAccessExpression(node)) {
      return { kind: "Member", of: expression(node.expression), property: node.name.text, optional: node.questionDotToken !== undefined, span: at };
    }
    if (ts.isElementAccessExpression(node)) {
      return { kind: "Element", of: expression(node.expression), index: expression(node.argumentExpression), span: at };
    }
    if (ts.isCallExpression(node)) return { kind: "Call", callee: expression(node.expression), args: node.arguments.map(item), span: at };
    if (ts.isArrowFunction(node) || ts.isFunctionExpression(node)) return func(node, name);
    if (ts.isObjectLiteralExpression(node)) return { kind: "Object", members: node.properties.map(member), span: at };
    if (ts.isArrayLiteralExpression(node)) return { kind: "Array", items: node.elements.map(item), span: at };
    if (ts.isConditionalExpression(node)) {
      const [cond, then, otherwise] = [node.condition, node.whenTrue, node.whenFalse].map((e) => expression(e)) as [Expression, Expression, Expression];
      return { kind: "Conditional", cond, then, otherwise, span: at };
    }
    if (ts.isTemplateExpression(node)) {
      return {
        kind: "Template",
        texts: [node.head.text, ...node.templateSpans.map((s) => s.literal.text)],
        parts: node.templateSpans.map((s) => expression(s.expression)),
        span: at,
      };
    }
    if (ts.isPrefixUnaryExpression(node)) {
      const op = unaryOperators.get(node.operator);
      if (op) return { kind: "Unary", op, a: expression(node.operand), span: at };
    }
    if (ts.isBinaryExpression(node)) {
      const kind = node.operatorToken.kind;
      const op = binaryOperators.get(kind);
      if (op) return { kind: "Binary", op, a: expression(node.left), b: expression(node.right), span: at };
      if (kind === ts.SyntaxKind.EqualsEqualsToken) return unsupported(node, "==", "write ===");
      if (kind === ts.SyntaxKind.ExclamationEqualsToken) return unsupported(node, "!=", "write !==");
      if (kind === ts.SyntaxKind.EqualsToken || compoundOperators.has(kind)) {
        return unsupported(node, "an assignment inside an expression", "make it a statement of its own");
      }
    }
    return unsupported(node, describe(node), "write it with the forms that the kernels in dsl/kernels use");
  }

  const item = (node: ts.Expression): Item =>
    ts.isSpreadElement(node) ? { value: expression(node.expression), spread: true } : { value: expression(node), spread: false };

  function member(node: ts.ObjectLiteralElementLike): Member {
    if (ts.isSpreadAssignment(node)) return { kind: "Spread", value: expression(node.expression) };
    if (ts.isShorthandPropertyAssignment(node)) return { kind: "Property", key: literalKey(node.name), value: expression(node.name) };
    const key = ts.isComputedPropertyName(node.name) ? expression(node.name.expression) : literalKey(node.name);
    const name = key.kind === "Literal" ? String(key.value) : "";
    if (ts.isPropertyAssignment(node)) return { kind: "Property", key, value: expression(node.initializer, name) };
    if (ts.isMethodDeclaration(node)) return { kind: "Property", key, value: func(node, name) };
    return { kind: "Property", key, value: unsupported(node, "a getter or setter", "use a plain property") };
  }
  const literalKey = (node: ts.PropertyName): Expression =>
    ({ kind: "Literal", value: "text" in node ? node.text : node.getText(source), span: span(node) });

  function func(node: FunctionNode, name: string): FunctionExpression | Unsupported {
    if (node.asteriskToken) return unsupported(node, "a generator function", "return an array, or loop over blocks(…)");
    if (node.modifiers?.some((m) => m.kind === ts.SyntaxKind.AsyncKeyword)) {
      return unsupported(node, "an async function", "kernels have nothing to wait for");
    }
    const { body } = node;
    if (!body) return unsupported(node, "a function without a body", "give it one");
    return {
      kind: "Function",
      name,
      params: node.parameters.filter((p) => p.name.getText(source) !== "this").map(parameter),
      body: ts.isBlock(body) ? body.statements.flatMap(statement) : [{ kind: "Return", value: expression(body), span: span(body) }],
      span: span(node),
    };
  }

  const parameter = (node: ts.ParameterDeclaration | ts.BindingElement): Parameter => ({
    pattern: pattern(node.name),
    rest: node.dotDotDotToken !== undefined,
    ...(node.initializer && { fallback: expression(node.initializer) }),
  });

  function pattern(node: ts.BindingName): Pattern {
    if (ts.isIdentifier(node)) return { kind: "NamePattern", name: node.text, span: span(node) };
    if (ts.isArrayBindingPattern(node)) {
      return { kind: "ArrayPattern", items: node.elements.map((e) => (ts.isOmittedExpression(e) ? undefined : parameter(e))), span: span(node) };
    }
    const members = node.elements.map((e) => ({ ...parameter(e), key: (e.propertyName ?? e.name).getText(source) }));
    return { kind: "ObjectPattern", members, span: span(node) };
  }

  const block = (node: ts.Statement): readonly Statement[] => (ts.isBlock(node) ? node.statements.flatMap(statement) : statement(node));

  function declarations(list: ts.VariableDeclarationList): readonly Statement[] {
    return list.declarations.map((d) => ({
      kind: "Declare",
      mutable: (list.flags & ts.NodeFlags.Const) === 0,
      pattern: pattern(d.name),
      init: d.initializer ? expression(d.initializer, d.name.getText(source)) : nothing(d),
      span: span(d),
    }));
  }

  function statement(node: ts.Statement): readonly Statement[] {
    const at = span(node);
    if (ts.isVariableStatement(node)) return declarations(node.declarationList);
    if (ts.isFunctionDeclaration(node) && node.name) {
      return [{ kind: "Declare", mutable: false, pattern: pattern(node.name), init: func(node, node.name.text), span: at }];
    }
    if (ts.isExpressionStatement(node)) return [effect(node.expression)];
    if (ts.isBlock(node)) return [{ kind: "Block", body: block(node), span: at }];
    if (ts.isIfStatement(node)) {
      const otherwise = node.elseStatement ? block(node.elseStatement) : [];
      return [{ kind: "If", cond: expression(node.expression), then: block(node.thenStatement), otherwise, span: at }];
    }
    if (ts.isReturnStatement(node)) return [{ kind: "Return", value: node.expression ? expression(node.expression) : nothing(node), span: at }];
    if (ts.isThrowStatement(node)) {
      const thrown = node.expression;
      const message = ts.isNewExpression(thrown) && thrown.arguments?.[0] ? thrown.arguments[0] : thrown;
      return [{ kind: "Throw", message: expression(message), span: at }];
    }
    if (ts.isForOfStatement(node) && ts.isVariableDeclarationList(node.initializer) && !node.awaitModifier) {
      const [d] = node.initializer.declarations;
      const of = expression(node.expression);
      if (d) return [{ kind: "ForOf", pattern: pattern(d.name), of, body: block(node.statement), span: of.span }];
    }
    if (ts.isForStatement(node) && node.condition && node.initializer && ts.isVariableDeclarationList(node.initializer)) {
      const update = node.incrementor ? [effect(node.incrementor)] : [];
      const [init, cond] = [declarations(node.initializer), expression(node.condition)];
      return [{ kind: "For", init, cond, update, body: block(node.statement), span: cond.span }];
    }
    if (ts.isEmptyStatement(node) || ts.isTypeAliasDeclaration(node) || ts.isInterfaceDeclaration(node)) return [];
    return [unsupported(node, describe(node), "loop with for … of over blocks(…), each(…) or a static array, branch with if")];
  }

  /** An expression that stands as a statement: assignments live only here. */
  function effect(node: ts.Expression): Statement {
    const at = span(node);
    if (ts.isBinaryExpression(node)) {
      const op = compoundOperators.get(node.operatorToken.kind);
      if (op || node.operatorToken.kind === ts.SyntaxKind.EqualsToken) {
        if (!ts.isIdentifier(node.left)) {
          return unsupported(node, "an assignment to anything but a variable", "assign a new object or tile to a let variable");
        }
        const right = expression(node.right);
        const value: Expression = op ? { kind: "Binary", op, a: expression(node.left), b: right, span: at } : right;
        return { kind: "Assign", name: node.left.text, value, span: at };
      }
    }
    if ((ts.isPostfixUnaryExpression(node) || ts.isPrefixUnaryExpression(node)) && ts.isIdentifier(node.operand)) {
      const op = node.operator === ts.SyntaxKind.PlusPlusToken ? "+" : node.operator === ts.SyntaxKind.MinusMinusToken ? "-" : undefined;
      const [a, b]: readonly [Expression, Expression] = [expression(node.operand), { kind: "Literal", value: 1, span: at }];
      if (op) return { kind: "Assign", name: node.operand.text, value: { kind: "Binary", op, a, b, span: at }, span: at };
    }
    return { kind: "Expression", value: expression(node), span: at };
  }

  function topLevel(name: ts.BindingName, initializer: ts.Expression): readonly (readonly [string, () => Expression])[] {
    if (ts.isIdentifier(name)) return [[name.text, () => expression(initializer, name.text)]];
    const parts: readonly ts.ArrayBindingElement[] = name.elements;
    return parts.flatMap((e, i): readonly (readonly [string, () => Expression])[] => {
      if (ts.isOmittedExpression(e) || !ts.isIdentifier(e.name) || e.dotDotDotToken) return [];
      const property = ts.isArrayBindingPattern(name) ? String(i) : (e.propertyName ?? e.name).getText(source);
      return [[e.name.text, () => ({ kind: "Member", of: expression(initializer), property, optional: false, span: span(e) })]];
    });
  }

  return { span, expression, func, topLevel };
}

/** "WhileStatement" as "a while statement". */
function describe(node: ts.Node): string {
  const words = (ts.SyntaxKind[node.kind] ?? "syntax").replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();
  return `${/^[aeiou]/.test(words) ? "an" : "a"} ${words}`;
}
