// An exported function or a public method of an exported class takes a few positional parameters, then at most one options object.

function isOptions(parameter) {
  const target = parameter.type === 'AssignmentPattern' ? parameter.left : parameter;
  return target.type === 'ObjectPattern' || (target.type === 'Identifier' && target.name === 'options');
}

/** The ESLint rule; its one option is the number of positional parameters allowed. */
export const positionalParameters = {
  meta: {
    type: 'suggestion',
    schema: [{ type: 'integer' }],
    messages: { tooMany: '{{name}} takes {{count}} positional parameters; {{limit}} are allowed. Put the rest into one options object.' },
  },
  create(context) {
    const [limit] = context.options;

    function check(name, { params }) {
      const own = params.filter((parameter) => parameter.type !== 'Identifier' || parameter.name !== 'this');
      const last = own.at(-1);
      const count = own.length - (last !== undefined && isOptions(last) ? 1 : 0);
      if (count > limit) context.report({ node: own[limit], messageId: 'tooMany', data: { name, count, limit } });
    }

    return {
      'ExportNamedDeclaration > FunctionDeclaration': (node) => check(node.id.name, node),
      'ExportNamedDeclaration > TSDeclareFunction': (node) => check(node.id.name, node),
      'ExportNamedDeclaration > ClassDeclaration > ClassBody > MethodDefinition'(node) {
        if (node.accessibility === 'private' || node.accessibility === 'protected') return;
        check(context.sourceCode.getText(node.key), node.value);
      },
    };
  },
};
